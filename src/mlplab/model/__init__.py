"""What a trained network is: preprocessing, network and loss."""
