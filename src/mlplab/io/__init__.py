"""Files that are complete at every moment, and files opened without following links."""
