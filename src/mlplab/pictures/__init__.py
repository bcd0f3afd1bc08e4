"""Pictures of what a network learned. Importing this imports no matplotlib; drawing does."""

from mlplab.pictures.picture import Picture, picture, pictures

__all__ = ["Picture", "picture", "pictures"]
