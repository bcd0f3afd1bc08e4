"""Training, storing and resuming the jobs of a sweep, in this process or in workers."""
