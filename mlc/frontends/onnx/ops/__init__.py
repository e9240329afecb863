"""Handlers of ONNX operators, one file per family. `mlc.frontends.onnx.table` loads every file of this folder."""
