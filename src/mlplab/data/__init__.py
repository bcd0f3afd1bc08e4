"""Data: tables, the datasets that make them, and their preparation."""

from mlplab.data.names import DATASETS as DATASETS
from mlplab.data.preparation import Examples as Examples
from mlplab.data.preparation import Prepared as Prepared
from mlplab.data.preparation import prepare as prepare
from mlplab.data.preparation import prepare_folds as prepare_folds
from mlplab.data.preparation import prepare_table as prepare_table
from mlplab.data.scaling import Scaler as Scaler
from mlplab.data.table import DataError as DataError
from mlplab.data.table import Dataset as Dataset
from mlplab.data.table import Table as Table
from mlplab.data.table import class_table as class_table
from mlplab.data.table import value_table as value_table
