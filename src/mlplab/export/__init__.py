"""Export a trained model as one file for other programs.

The file maps raw columns to predictions and contains the encoders and scalers.
"""
