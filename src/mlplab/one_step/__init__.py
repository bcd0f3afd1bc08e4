"""One update of a network by hand: forward, backward and update with every number."""
