"""Kernels as graph fusion hands them over, for tests and measurements. Sizes are numbers, or names of index arguments."""

from __future__ import annotations

from xdsl.dialects import arith, math
from xdsl.dialects.builtin import FloatAttr, f32, i64

from mlc.ir.dims import Extent
from mlc.ir.kernel.access import L
from mlc.ir.kernel.kernel import Buffer, Kernel


# Scalar bodies
def number(b, value, type=f32):
    return b.insert(arith.ConstantOp(FloatAttr(value, type))).result


def zero(b, out):
    return number(b, 0.0, out.type)


def copied(b, x, out):
    return x


def add(b, x, y):
    return b.insert(arith.AddfOp(x, y)).result


def sub(b, x, y):
    return b.insert(arith.SubfOp(x, y)).result


def mul(b, x, y):
    return b.insert(arith.MulfOp(x, y)).result


def divided(b, x, y):
    return b.insert(arith.DivfOp(x, y)).result


def maximum(b, x, y):
    return b.insert(arith.MaximumfOp(x, y)).result


def relu(b, x):
    return maximum(b, x, number(b, 0.0, x.type))


def multiply_add(b, x, y, out):
    return add(b, out, mul(b, x, y))


def accumulate(b, x, out):
    return add(b, out, x)


# Kernels
def gemm(m: Extent, n: Extent, k: Extent, epilogue=True, weight=True, transposed=False, dtype="f32") -> Kernel:
    """D = relu(A B + bias + R) or A B; B is [n, k] where transposed."""
    shapes = {
        "A": Buffer((m, k), dtype),
        "B": Buffer((n, k) if transposed else (k, n), dtype, weight),
        **({"bias": Buffer((n,), dtype), "R": Buffer((m, n), dtype)} if epilogue else {}),
        "D": Buffer((m, n), dtype),
    }
    kernel = Kernel("gemm", shapes)
    at = kernel.buffers
    t = kernel.temporary((m, n), dtype, "acc")
    kernel.structured({"m": m, "n": n}, [], (t, ("m", "n")), zero)
    operands = [(at["A"], ("m", "k")), (at["B"], ("n", "k") if transposed else ("k", "n"))]
    kernel.structured({"m": m, "n": n, "k": k}, operands, (t, ("m", "n")), multiply_add, {"k"})

    def finish(b, x, bias, residual, out):
        return relu(b, add(b, add(b, x, bias), residual))

    more = [(at["bias"], ("n",)), (at["R"], ("m", "n"))] if epilogue else []
    kernel.structured({"m": m, "n": n}, [(t, ("m", "n")), *more], (at["D"], ("m", "n")), finish if epilogue else copied)
    kernel.return_()
    return kernel


def conv(h: Extent, w: Extent, ic: int, oc: int, size: int, stride: int, batch: Extent | None = None) -> Kernel:
    """Y = relu(conv(X, W) + bias), NHWC; X comes with its zero border. Run-time h and w: Y is OH x OW."""
    oh = "OH" if isinstance(h, str) else (h - size) // stride + 1
    ow = "OW" if isinstance(w, str) else (w - size) // stride + 1
    lead = {} if batch is None else {"n": batch}
    shapes = {
        "X": Buffer((*lead.values(), h, w, ic)),
        "W": Buffer((size, size, ic, oc), weight=True),
        "bias": Buffer((oc,)),
        "Y": Buffer((*lead.values(), oh, ow, oc)),
    }
    kernel = Kernel("conv", shapes)
    at, out, pixel = kernel.buffers, {**lead, "oh": oh, "ow": ow, "oc": oc}, (*lead, "oh", "ow", "oc")
    t = kernel.temporary(tuple(out.values()), name="acc")
    kernel.structured(out, [], (t, pixel), zero)
    image = (*lead, L("oh") * stride + "kh", L("ow") * stride + "kw", "ic")
    taps = {"kh": size, "kw": size, "ic": ic}
    operands = [(at["X"], image), (at["W"], ("kh", "kw", "ic", "oc"))]
    kernel.structured({**out, **taps}, operands, (t, pixel), multiply_add, taps.keys())
    kernel.structured(
        out, [(t, pixel), (at["bias"], ("oc",))], (at["Y"], pixel), lambda b, x, bias, out: relu(b, add(b, x, bias))
    )
    kernel.return_()
    return kernel


def softmax(rows: Extent, columns: Extent, scale: float) -> Kernel:
    """Y = softmax(X * scale) over the columns."""
    kernel = Kernel("softmax", {"X": Buffer((rows, columns)), "Y": Buffer((rows, columns))})
    at = kernel.buffers
    e = kernel.temporary((rows, columns), name="e")
    top, total = kernel.temporary((rows,), name="max"), kernel.temporary((rows,), name="sum")
    both, one, whole, line = {"row": rows, "col": columns}, {"row": rows}, ("row", "col"), ("row",)
    fast = arith.FastMathFlagsAttr([arith.FastMathFlag.NO_NANS])

    def largest(b, x, out):
        return b.insert(arith.MaximumfOp(out, x, fast)).result

    def power(b, x, top, out):
        return b.insert(math.ExpOp(sub(b, mul(b, x, number(b, scale)), top))).result

    kernel.structured(one, [], (top, line), lambda b, out: number(b, float("-inf")))
    kernel.structured(one, [], (total, line), zero)
    kernel.structured(
        both, [(at["X"], whole)], (top, line), lambda b, x, out: largest(b, mul(b, x, number(b, scale)), out), {"col"}
    )
    kernel.structured(both, [(at["X"], whole), (top, line)], (e, whole), power)
    kernel.structured(both, [(e, whole)], (total, line), accumulate, {"col"})
    kernel.structured(one, [(total, line)], (total, line), lambda b, x, out: divided(b, number(b, 1.0), x))
    kernel.structured(both, [(e, whole), (total, line)], (at["Y"], whole), lambda b, x, r, out: mul(b, x, r))
    kernel.return_()
    return kernel


def layer_norm(rows: Extent, columns: Extent, epsilon: float = 1e-5, residual: bool = True) -> Kernel:
    """Y = (z - mean z) / sqrt(var z + epsilon) * gamma + beta over the columns, z = X + R (or X)."""
    wide, flat = Buffer((rows, columns)), Buffer((columns,))
    kernel = Kernel("layer_norm", {"X": wide, "R": wide, "gamma": flat, "beta": flat, "Y": wide})
    at = kernel.buffers
    mean, spread = kernel.temporary((rows,), name="mean"), kernel.temporary((rows,), name="spread")
    z = kernel.temporary((rows, columns), name="z") if residual else at["X"]
    both, one, whole, line = {"row": rows, "col": columns}, {"row": rows}, ("row", "col"), ("row",)

    def over_columns(b, x):
        if isinstance(columns, int):
            return mul(b, x, number(b, 1 / columns))
        count = b.insert(arith.IndexCastOp(kernel.extent(columns), i64)).result
        return divided(b, x, b.insert(arith.SIToFPOp(count, f32)).result)

    def square(b, x, mean, out):
        d = sub(b, x, mean)
        return add(b, out, mul(b, d, d))

    def inverse(b, x, out):
        return divided(b, number(b, 1.0), b.insert(math.SqrtOp(add(b, over_columns(b, x), number(b, epsilon)))).result)

    def finish(b, x, mean, r, gamma, beta, out):
        return add(b, mul(b, sub(b, x, mean), mul(b, gamma, r)), beta)

    for value in (mean, spread):
        kernel.structured(one, [], (value, line), zero)
    if residual:
        kernel.structured(both, [(at["X"], whole), (at["R"], whole)], (z, whole), lambda b, x, r, out: add(b, x, r))
    kernel.structured(both, [(z, whole)], (mean, line), accumulate, {"col"})
    kernel.structured(one, [(mean, line)], (mean, line), lambda b, x, out: over_columns(b, x))
    kernel.structured(both, [(z, whole), (mean, line)], (spread, line), square, {"col"})
    kernel.structured(one, [(spread, line)], (spread, line), inverse)
    operands = [(z, whole), (mean, line), (spread, line), (at["gamma"], ("col",)), (at["beta"], ("col",))]
    kernel.structured(both, operands, (at["Y"], whole), finish)
    kernel.return_()
    return kernel
