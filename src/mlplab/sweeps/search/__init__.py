"""Searches: trials proposed by Optuna, pruned and reported."""
