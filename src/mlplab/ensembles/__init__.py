"""Packed ensembles: networks with sampled hyperparameters, trained as one population, and selected
into one model.
"""
