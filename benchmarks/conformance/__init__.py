"""ONNX's own conformance suite, run so that no case can end the run: cases, backends, isolation, totals."""
