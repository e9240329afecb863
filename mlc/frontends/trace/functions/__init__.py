"""What the NumPy functions compute, in ops: from values of the IR (and Python numbers) to values of the IR.

Each is used in two ways: a trace writes its ops into the function being traced, and an eager call evaluates them with NumPy.
"""
