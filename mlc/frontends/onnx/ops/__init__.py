"""ONNX operators by family: each handler builds graph operations."""
