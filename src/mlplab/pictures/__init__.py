"""Pictures of what a network learned. Only drawing imports matplotlib, not this package."""
