"""Frontends build modules of the graph dialect from what users bring: ONNX files, Python functions."""
