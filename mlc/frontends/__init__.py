"""Readers of models: each builds a module of the graph dialect and knows nothing of later stages."""
