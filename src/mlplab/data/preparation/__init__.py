"""Turn a dataset into examples that a network can train on."""
