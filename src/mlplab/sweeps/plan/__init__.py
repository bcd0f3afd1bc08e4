"""Which jobs there are, and how they are grouped into populations."""
