"""The ONNX frontend: files, bytes or protos of opset 7 and up become modules of the graph dialect."""
