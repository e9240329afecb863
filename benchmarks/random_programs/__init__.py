"""Random programs: ONNX models drawn from a number, compiled and compared with onnxruntime and with the interpreter in float64."""
