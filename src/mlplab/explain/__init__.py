"""What a trained network has learned from a table: which columns matter, how, and where it errs."""
