"""Views that cost nothing: the same elements under other strides, in NumPy and in compiled kernels, and the places where a copy is needed after all.

    python examples/views.py

A view is an offset and a stride per axis: element (i, j) lies at offset + i * stride0 + j * stride1. NumPy keeps both in the array. The compiler knows views when it
makes a kernel, and writes them into the kernel's index maps; this program reads them back out of the IR.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided, sliding_window_view
from xdsl.dialects.linalg.ops import GenericOp
from xdsl.ir import SSAValue

import mlc
import mlc.numpy as mnp
from mlc import Tensor
from mlc.ir.kernel import program
from mlc.ir.kernel.access import read_map
from mlc.ir.kernel.kernel import loops_of, strides_of
from mlc.nn import functional

X = np.arange(36, dtype=np.float32).reshape(6, 6)


@dataclass(frozen=True)
class View:
    """What it is called, NumPy's view of X, and a function of tensors that reads x in this way and adds w of the view's shape (or sums windows)."""

    name: str
    of_numpy: np.ndarray
    reader: Callable[[Tensor, Tensor], Tensor]

    @property
    def offset_and_strides(self) -> tuple[int, tuple[int, ...]]:
        """Of NumPy's view, in elements."""
        start = self.of_numpy.__array_interface__["data"][0] - X.__array_interface__["data"][0]
        return start // X.itemsize, tuple(step // X.itemsize for step in self.of_numpy.strides)


def views() -> list[View]:
    return [
        View("slice x[1:5:2, 2:]", X[1:5:2, 2:], lambda x, w: x[1:5:2, 2:] + w),
        View("transpose x.T", X.T, lambda x, w: x.T + w),
        View("row x[1] six times", np.broadcast_to(X[1], (6, 6)), lambda x, w: mnp.broadcast_to(x[1], (6, 6)) + w),
        View(
            "tiles of 2 x 2",
            as_strided(X, (3, 3, 2, 2), tuple(4 * step for step in (12, 2, 6, 1))),
            lambda x, w: x.reshape(3, 2, 3, 2).transpose(0, 2, 1, 3) + w,
        ),
        View(
            "windows of 3 x 3",
            sliding_window_view(X, (3, 3)),
            lambda x, w: functional.average_pool(x[None, None], (3, 3), (1, 1)),
        ),
    ]


# What the compiler makes of them ---------------------------------------------------------------------------------------------
def read_by(view: View) -> tuple[int, tuple[int, ...]]:
    """The offset and the strides, in elements, by which the only kernel of a view's reader reads x."""
    lowered = mlc.jit(view.reader).trace(X, np.zeros(view.of_numpy.shape, np.float32)).lower()
    module = mlc.Module.parse(lowered.as_text("outline"), lowered.traced.module.weights)
    (call,) = (op for op in module.main.walk() if isinstance(op, program.CallOp))
    place = [memory(value) for value in call.arguments].index(module.main.body.block.args[0])
    (kernel,) = (op for op in module.op.ops if op is not module.main)
    x = kernel.body.block.args[place]
    return next(
        steps(op, number)
        for op in kernel.walk()
        if isinstance(op, GenericOp)
        for number, v in enumerate(op.inputs)
        if v is x
    )


def memory(value: SSAValue) -> SSAValue:
    return program.viewed(value)


def steps(op: GenericOp, number: int) -> tuple[int, tuple[int, ...]]:
    """How an op's loops run through an operand."""
    loops, operand = loops_of(op), op.inputs[number]
    access = list(zip(read_map(op.indexing_maps.data[number], list(loops)), strides_of(operand), strict=True))
    found = (sum(form.terms.get(name, 0) * (step or 0) for form, step in access) for name in loops)
    return sum(form.constant * (step or 0) for form, step in access), tuple(found)


# Copies ----------------------------------------------------------------------------------------------------------------------
def product(x: Tensor, y: Tensor) -> Tensor:
    return (x + y).T @ (x - y)


COPIED: dict[str, tuple[Callable[..., Any], Sequence[np.ndarray]]] = {
    "a view as a result": (lambda x: x.T, [X]),
    "a transpose as a line": (lambda x: x.T.reshape(36) + 1, [X]),
    "parts side by side": (lambda x: (mnp.concatenate([x, x.T]) @ x).sum(), [X]),
    "a product of what is computed, 512 x 512": (product, [np.ones((512, 512), np.float32)] * 2),
    "a product of x.T and x": (lambda x: x.T @ x, [X]),
}


def copies(function: Callable[..., Any], arguments: Sequence[np.ndarray]) -> list[str]:
    """What the report of the executable says, with files named without their folders."""
    report = mlc.jit(function).trace(*arguments).lower().compile().executable.report
    lines = [line for kernel in report["kernels"] for call in kernel["calls"] for line in call["copies"]]
    return [re.sub(r"[^ ]*/(?=\w+\.py:)", "", line) for line in lines]


# -----------------------------------------------------------------------------------------------------------------------------
def table_of_views() -> None:
    print(f"{'':<20} {'NumPy: offset, strides':>25} {'kernel: offset, strides':>25}")
    for view in views():
        (numpys, strides), (offset, found) = view.offset_and_strides, read_by(view)
        print(f"{view.name:<20} {f'{numpys} {strides}':>25} {f'{offset} {found}':>25}")


def table_of_copies() -> None:
    for name, (function, arguments) in COPIED.items():
        print(name)
        for line in copies(function, arguments) or ["nothing is copied"]:
            print(f"    {line}")


def main() -> None:
    table_of_views()
    print()
    table_of_copies()


if __name__ == "__main__":
    main()
