"""The pictures of a run. Every module here is found by itself; a function with @picture() is a
picture.
"""
