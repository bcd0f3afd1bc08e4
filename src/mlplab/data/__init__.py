"""Tables, the datasets that produce them, and how they are split and scaled."""

from mlplab.data.scaling import Scaler as Scaler
from mlplab.data.table import Dataset as Dataset
from mlplab.data.table import Table as Table
from mlplab.data.table import class_table as class_table
from mlplab.data.table import value_table as value_table
