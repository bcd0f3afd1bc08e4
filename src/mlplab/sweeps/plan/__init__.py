"""The plan of a sweep: its jobs, and how they are grouped into populations."""
