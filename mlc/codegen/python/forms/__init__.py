"""How each op of the graph dialect is said in NumPy, by family. Importing this enters them all in the registry."""

from mlc.codegen.python.forms import (
    collective,
    composites,
    control,
    elementwise,
    index,
    linear,
    reduce,
    shape,
    storage,
    window,
)

__all__ = [
    "collective",
    "composites",
    "control",
    "elementwise",
    "index",
    "linear",
    "reduce",
    "shape",
    "storage",
    "window",
]
