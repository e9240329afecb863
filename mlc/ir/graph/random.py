"""Random numbers that are functions of a key: the same for every order of computation, number of threads and target.

Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011) turns a counter of four u32 and a key of two into four u32. Element i of a tensor, counted
in row-major order, is word i % 4 of the block whose counter is (i // 4 low, i // 4 high, stream, step):

    key       u32[2], from a seed, or from another key by random_split and random_fold_in
    stream    which of the draws of a program it is
    step      which of its repetitions (the step of training, the turn of a loop); 2**32 - 1 is that of the keys made from keys
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from xdsl.builder import Builder
from xdsl.dialects import arith
from xdsl.dialects.builtin import TensorType
from xdsl.ir import SSAValue
from xdsl.irdl import irdl_op_definition, operand_def, result_def, traits_def
from xdsl.traits import Pure

from mlc.errors import DTypeError
from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.dtypes import TABLE
from mlc.ir.graph import constants, parts, scalar
from mlc.ir.graph import shape as shapes
from mlc.ir.graph.base import Evaluate, emit
from mlc.ir.graph.composites import CompositeOp
from mlc.ir.graph.elementwise import PointwiseOp, apply, apply_cast
from mlc.ir.philox import FACTORS, INCREMENTS, ROUNDS, philox, words
from mlc.ir.types import dtype_of, is_float, is_half, shape_of, shape_text, tensor, tensor_type, type_text

_KEYS = (1 << 32) - 1  # the step of keys made from keys
_PAIR = "u32[2]"


@irdl_op_definition
class PhiloxOp(PointwiseOp):
    """Word `word` (0 to 3) of what Philox4x32-10 makes of the counter (c0, c1, c2, c3) and the key (k0, k1), element by element. All u32."""

    name = "graph.philox"
    c0 = operand_def(TensorType)
    c1 = operand_def(TensorType)
    c2 = operand_def(TensorType)
    c3 = operand_def(TensorType)
    k0 = operand_def(TensorType)
    k1 = operand_def(TensorType)
    word = operand_def(TensorType)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$c0 `,` $c1 `,` $c2 `,` $c3 `,` $k0 `,` $k1 `,` $word attr-dict `:` type($c0) `,` type($c1) `,` type($c2) `,` type($c3) `,` type($k0) `,` type($k1) `,` type($word) `->` type($result)"

    def __init__(self, *operands: SSAValue):
        super().__init__(operands=list(operands), result_types=[self.infer(operands)])

    @staticmethod
    def infer(operands: Sequence[SSAValue]) -> TensorType:
        first = tensor_type(operands[0])
        if dtype_of(operands[0]) != "u32" or any(value.type != first for value in operands):
            raise DTypeError(
                f"philox: takes u32 of one shape, not {', '.join(type_text(tensor_type(v)) for v in operands)}"
            )
        return first

    def infer_types(self) -> Sequence[TensorType]:
        return [self.infer(self.operands)]

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> np.ndarray:
        *words, word = operands
        with np.errstate(over="ignore"):  # keys wrap; of single numbers NumPy would warn
            return np.asarray(np.choose(word & 3, philox(*words)))

    def scalar_body(self, b: Builder, *values: SSAValue) -> SSAValue:
        c0, c1, c2, c3, k0, k1, word = values
        number = lambda value: scalar.constant(b, "u32", value)
        xor = lambda x, y: b.insert(arith.XOrIOp(x, y)).result

        def product(x: SSAValue, factor: int) -> tuple[SSAValue, SSAValue]:
            """Its high and low half."""
            wide = scalar.cast(b, "u32", "u64", x)
            whole = b.insert(arith.MuliOp(wide, scalar.constant(b, "u64", factor))).result
            high = b.insert(arith.ShRUIOp(whole, scalar.constant(b, "u64", 32))).result
            return scalar.cast(b, "u64", "u32", high), scalar.cast(b, "u64", "u32", whole)

        for turn in range(ROUNDS):
            if turn:
                k0, k1 = (
                    b.insert(arith.AddiOp(k, number(by))).result for k, by in zip((k0, k1), INCREMENTS, strict=True)
                )
            (high0, low0), (high1, low1) = product(c0, FACTORS[0]), product(c2, FACTORS[1])
            c0, c1, c2, c3 = xor(xor(high1, c1), k0), low1, xor(xor(high0, c3), k1), low0
        is_word = lambda value: b.insert(arith.CmpiOp(word, number(value), "eq")).result
        low = scalar.select(b, is_word(0), c0, c1)
        high = scalar.select(b, is_word(2), c2, c3)
        return scalar.select(b, b.insert(arith.CmpiOp(word, number(2), "ult")).result, low, high)

    def on(self, *operands: SSAValue) -> SSAValue:
        return emit(PhiloxOp(*operands))[0]


@irdl_op_definition
class RandomBitsOp(CompositeOp):
    """32 random bits per element, u32 of any shape: Philox4x32-10 of `key` u32[2], `stream` u32[2] (stream and step) and the element's number."""

    name = "graph.random_bits"
    key = operand_def(TensorType)
    stream = operand_def(TensorType)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$key `,` $stream attr-dict `:` type($key) `,` type($stream) `->` type($result)"

    def __init__(self, key: SSAValue, stream: SSAValue, shape: Sequence[Extent]):
        super().__init__(operands=[key, stream], result_types=[self.infer(key, stream, shape)])

    @staticmethod
    def infer(key: SSAValue, stream: SSAValue, shape: Sequence[Extent]) -> TensorType:
        for name, value in (("key", key), ("stream", stream)):
            _require_pair(f"random_bits: the {name}", value)
        return tensor(shape, "u32")

    def infer_types(self) -> Sequence[TensorType]:
        return [self.infer(self.key, self.stream, shape_of(self.result))]

    def evaluator(self, at: Evaluate) -> Callable[..., np.ndarray]:  # type: ignore[override]
        """Whole blocks of four words, where the decomposition computes the block of each."""
        shape = [at(e) for e in shape_of(self.result)]
        return lambda key, stream: words(math.prod(shape), key, stream).reshape(shape)

    def decompose(self, *operands: SSAValue) -> SSAValue:
        key, stream = operands
        return bits_of(_numbers(shape_of(self.result)), key, stream)


def bits_of(number: SSAValue, key: SSAValue, stream: SSAValue) -> SSAValue:
    """The bits of the elements that have these numbers, u32 or u64 of any shape."""
    shape, dtype = shape_of(number), dtype_of(number)
    shifted = lambda by: apply("shift_right", number, shapes.full(shape, by, dtype))
    high = shapes.full(shape, 0, "u32") if dtype == "u32" else apply_cast(shifted(34), "u32")
    word = apply_cast(apply("bit_and", number, shapes.full(shape, 3, dtype)), "u32")
    pairs = [_word(pair, k, shape) for pair in (stream, key) for k in (0, 1)]
    return emit(PhiloxOp(apply_cast(shifted(2), "u32"), high, *pairs, word))[0]


def bits_of_part(op: RandomBitsOp, axis: int, parts: int, number: SSAValue) -> SSAValue:
    """What `op` draws, as the part of this number, a u32 scalar, of a draw that is so many times as long along an axis: parts of one draw that lie
    side by side have the bits of the whole."""
    shape = shape_of(op.result)
    whole = [e * parts if a == axis else e for a, e in enumerate(shape)]
    return bits_of(_numbers(shape, whole, axis, number), op.key, op.stream)


def _require_pair(what: str, value: SSAValue) -> None:
    if dtype_of(value) != "u32" or shape_of(value) != (2,):
        raise DTypeError(f"{what} is {type_text(tensor_type(value))}, not {_PAIR}")


def _numbers(
    shape: Sequence[Extent], whole: Sequence[Extent] | None = None, along: int = 0, part: SSAValue | None = None
) -> SSAValue:
    """The number of each element in row-major order: u32 where there are fewer than 2**32, else u64. Of a part of a `whole` that is as long
    `along` one axis as several parts, the numbers that its elements have there; `part` is a u32 scalar."""
    whole = shape if whole is None else whole
    total = dims.prod(list(whole))
    dtype = "u32" if isinstance(total, int) and total < 1 << 32 else "u64"
    number = shapes.full(shape, 0, dtype)
    for axis in range(len(shape)):
        stride = dims.prod(list(whole[axis + 1 :]))
        place = constants.iota(shape, axis, dtype)
        if part is not None and axis == along:
            begin = apply("mul", apply_cast(part, dtype), _size(shape[axis], dtype))
            place = apply("add", place, shapes.broadcast(begin, shape, []))
        if stride != 1:
            place = apply("mul", place, shapes.broadcast(_size(stride, dtype), shape, []))
        number = apply("add", number, place) if axis else place
    return number


def _size(extent: Extent, dtype: str) -> SSAValue:
    """A number of elements as a scalar."""
    return (
        constants.scalar(extent, dtype) if isinstance(extent, int) else apply_cast(constants.dimension(extent), dtype)
    )


def _word(pair: SSAValue, k: int, shape: Sequence[Extent]) -> SSAValue:
    """One of two words, for every element."""
    one = shapes.reshape(parts.slice(pair, [k], [1]), ())
    return shapes.broadcast(one, shape, [])


# Builder functions -------------------------------------------------------------------------------------------------------


def random_bits(
    key: SSAValue, shape: Sequence[Extent], stream: int | SSAValue = 0, step: int | SSAValue = 0
) -> SSAValue:
    """32 random bits per element, u32; `stream` and `step` are numbers or u32 scalars."""
    return emit(RandomBitsOp(key, _stream(stream, step), shape))[0]


def _stream(*words: int | SSAValue) -> SSAValue:
    if all(isinstance(word, int) for word in words):
        return constants.constant(np.array(words, np.uint32))
    found = [constants.scalar(word, "u32") if isinstance(word, int) else word for word in words]
    return parts.concatenate([shapes.reshape(word, (1,)) for word in found], 0)


def random_uniform(
    key: SSAValue, shape: Sequence[Extent], dtype: str = "f32", stream: int | SSAValue = 0, step: int | SSAValue = 0
) -> SSAValue:
    """Multiples of 2**-p in [0, 1), each as likely: p is 24 for f32, 53 for f64 (of two words), 11 for f16, 8 for bf16."""
    if not is_float(dtype):
        raise DTypeError(f"random_uniform: gives floats, not {dtype}")
    if dtype == "f64":
        high, low = _pairs(random_bits(key, (*shape, 2), stream, step))
        high, low = (
            apply_cast(apply("shift_right", x, shapes.full_like(x, by)), dtype) for x, by in ((high, 5), (low, 6))
        )
        whole = apply("add", apply("mul", high, shapes.full_like(high, 1 << 26)), low)
        return apply("mul", whole, shapes.full_like(whole, 2.0**-53))
    bits, digits = random_bits(key, shape, stream, step), TABLE[dtype].digits
    kept = apply_cast(apply("shift_right", bits, shapes.full_like(bits, 32 - digits)), "f32")
    return apply_cast(apply("mul", kept, shapes.full_like(kept, 2.0**-digits)), dtype)


def _pairs(x: SSAValue) -> tuple[SSAValue, SSAValue]:
    """x[..., 0] and x[..., 1]"""
    last = len(shape_of(x)) - 1
    first, second = (shapes.squeeze(parts.slice_axis(x, last, k, 1), [last]) for k in (0, 1))
    return first, second


def random_normal(
    key: SSAValue, shape: Sequence[Extent], dtype: str = "f32", stream: int | SSAValue = 0, step: int | SSAValue = 0
) -> SSAValue:
    """Mean 0 and variance 1, by Box and Muller (1958) from two uniform numbers: sqrt(-2 log(1 - u)) cos(2 pi v). f16 and bf16 from f32.

    The largest are sqrt(48 log 2) = 5.8 in f32, and 8.6 in f64.
    """
    if not is_float(dtype):
        raise DTypeError(f"random_normal: gives floats, not {dtype}")
    u, v = _pairs(random_uniform(key, (*shape, 2), "f32" if is_half(dtype) else dtype, stream, step))
    radius = apply("sqrt", apply("mul", apply("log", apply("sub", shapes.full_like(u, 1), u)), shapes.full_like(u, -2)))
    angle = apply("mul", v, shapes.full_like(v, 2 * math.pi))
    return apply_cast(apply("mul", radius, apply("cos", angle)), dtype)


def random_split(key: SSAValue, count: Extent) -> SSAValue:
    """`count` keys made from one, u32[count, 2]: the first two words at the counters (j, 0, 0, 2**32 - 1)."""
    _require_pair("random_split: the key", key)
    shape = (count, 2)
    return _made(key, constants.iota(shape, 0, "u32"))


def random_fold_in(key: SSAValue, data: SSAValue) -> SSAValue:
    """The key made from one and a number, a u32 scalar: random_split(key, ...)[data]."""
    _require_pair("random_fold_in: the key", key)
    if dtype_of(data) != "u32" or shape_of(data):
        raise DTypeError(f"random_fold_in: the number is {dtype_of(data)}{shape_text(shape_of(data))}, not one u32")
    return _made(key, shapes.broadcast(data, (2,), []))


def _made(key: SSAValue, counter: SSAValue) -> SSAValue:
    """The first word of a counter's block in the places 0 of the last axis, the second in the places 1."""
    shape = shape_of(counter)
    zero, last = shapes.full(shape, 0, "u32"), shapes.full(shape, _KEYS, "u32")
    word = constants.iota(shape, len(shape) - 1, "u32")
    return emit(PhiloxOp(counter, zero, zero, last, _word(key, 0, shape), _word(key, 1, shape), word))[0]
