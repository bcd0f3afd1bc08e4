"""From a dataset to examples a network can train on."""
