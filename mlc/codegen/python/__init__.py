"""Graphs as NumPy source that reads like the model: one function, helpers where they are used, weights beside it in a .npz file."""
