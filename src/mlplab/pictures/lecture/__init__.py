"""The lecture's figures that need no run: drawn by `mlplab draw NAME`."""
