"""`python -m mlplab`."""

import sys

from mlplab.cli import run_process

sys.exit(run_process())
