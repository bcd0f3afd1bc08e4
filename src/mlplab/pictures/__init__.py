"""Pictures of what a network learned. Importing this imports no matplotlib; drawing does."""
