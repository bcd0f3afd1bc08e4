"""A trained model as one file for other programs: raw columns in, predictions out, encoders and
scalers inside.
"""
