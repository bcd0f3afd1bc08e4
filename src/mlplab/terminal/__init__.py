"""What is printed: progress, results, and plain text tables."""
