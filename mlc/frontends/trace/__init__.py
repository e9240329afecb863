"""The frontend for Python: tensors with NumPy's functions that run at once, and functions of them traced into modules.

import mlc.numpy as mnp
traced = trace(lambda x: mnp.tanh(x).sum(), mnp.zeros((2, 3)))
"""
