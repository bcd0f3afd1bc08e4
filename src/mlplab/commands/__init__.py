"""The subcommands of `mlplab`, one module each; nothing heavy is imported before it is needed."""
