"""The subcommands of `mlplab`, one module each. Heavy imports happen inside functions."""
