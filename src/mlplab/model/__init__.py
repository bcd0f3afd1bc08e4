"""A trained model: preprocessing, network and loss."""
