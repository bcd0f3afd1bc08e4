"""A user's own table: read from a file, its columns classified, checked, split and encoded."""

from mlplab.data.tabular.arrays_dataset import Arrays as Arrays
from mlplab.data.tabular.dataset import File as File
