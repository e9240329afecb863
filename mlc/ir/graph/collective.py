"""Ops of a program that several processes run together, its *ranks*, each on its own rows of a batch.

Every value is *varying*, another one on each rank (the batch, activations), or *replicated*, the same on all (parameters, the loss of the
whole batch). Two ops lead from one kind to the other, and each is the other's transpose:

    %w.v = graph.replicate %w        replicated -> varying: nothing happens when it runs
    %g   = graph.all_reduce %d       varying -> replicated: the sum over all ranks

So a parameter that is replicated where it meets a batch has a gradient that is summed up over the ranks, and autodiff writes the sum. JAX has
the same pair (pvary and psum). Which value is of which kind is no part of types: mlc/passes/graph/data_parallel.py finds out, and says where
the two are mixed.

What a sum has to wait for is said in two halves, so that something else can run between them (mlc/passes/graph/buckets.py):

    %flight  = graph.all_reduce_start %a, %b         the elements of both in one bucket, on their way
    %sa, %sb = graph.all_reduce_wait %flight

By itself a program is of one rank, number 0, and sums are what they sum up; `mlc.ir.ranks` runs several.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
from xdsl.dialects.builtin import TensorType
from xdsl.ir import SSAValue
from xdsl.irdl import irdl_op_definition, operand_def, result_def, traits_def, var_operand_def, var_result_def
from xdsl.traits import Pure

from mlc.errors import DTypeError, ShapeError
from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.graph.base import Evaluate, GraphOp, emit
from mlc.ir.graph.composites import CompositeOp
from mlc.ir.graph.derivative import Algebra, Tangent, Tangents
from mlc.ir.graph.elementwise import apply, apply_cast
from mlc.ir.graph.shape import full_like
from mlc.ir.types import dtype_of, is_half, is_static, shape_of, shape_text, tensor, tensor_type, type_text

DTYPES = ("f32", "f64", "i32", "i64")  # that are summed up; halves travel as f32
MOST = (1 << 31) - 1  # elements of a bucket: engines count in 32 bits
_LINE = 16  # elements: members of a bucket begin on a cache line, as buffers do

_rank: ContextVar[int] = ContextVar("rank", default=0)


@contextmanager
def as_rank(number: int) -> Iterator[None]:
    """What is evaluated inside is evaluated by this rank."""
    token = _rank.set(number)
    try:
        yield
    finally:
        _rank.reset(token)


class CollectiveOp(GraphOp):
    """What depends on the rank, or on all of them: nothing of it is known before a program runs."""


@irdl_op_definition
class ReplicateOp(CompositeOp):
    """x itself, of any dtype: a replicated value as one that may meet varying ones. Its cotangent is summed up over the ranks."""

    name = "graph.replicate"
    x = operand_def(TensorType)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$x attr-dict `:` type($x) `->` type($result)"

    def __init__(self, x: SSAValue):
        super().__init__(operands=[x], result_types=[x.type])

    def infer_types(self) -> Sequence[TensorType]:
        return [tensor_type(self.x)]

    def decompose(self, *operands: SSAValue) -> SSAValue:
        return operands[0]

    @property
    def linear(self) -> tuple[int, ...]:
        return (0,)

    def transpose_rule(self, g: Algebra, cotangent: SSAValue, position: int) -> Tangent:
        return all_reduce(cotangent)


@irdl_op_definition
class AllReduceOp(CollectiveOp):
    """The sum over all ranks of each operand, of f32, f64, i32 or i64; several, of one dtype and static shapes, travel together."""

    name = "graph.all_reduce"
    xs = var_operand_def(TensorType)
    outputs = var_result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$xs attr-dict `:` type($xs) `->` type($outputs)"

    def __init__(self, xs: Sequence[SSAValue]):
        super().__init__(operands=[list(xs)], result_types=[self.infer(xs)])

    @staticmethod
    def infer(xs: Sequence[SSAValue]) -> list[TensorType]:
        bucket_of(xs)
        return [tensor_type(x) for x in xs]

    def infer_types(self) -> Sequence[TensorType]:
        return self.infer(self.xs)

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> tuple[np.ndarray, ...]:
        return operands

    @property
    def linear(self) -> tuple[int, ...]:
        return (0,) if len(self.xs) == 1 else ()

    def jvp(self, g: Algebra, tangents: Tangents) -> Sequence[Tangent]:
        return [None if t is None else all_reduce(t) for t in tangents]

    def transpose_rule(self, g: Algebra, cotangent: SSAValue, position: int) -> Tangent:
        return replicate(cotangent)


@irdl_op_definition
class AllReduceStartOp(CollectiveOp):
    """The elements of the operands in one bucket, of which the sum over all ranks is on its way: it may not be read until it was waited for.

    Each member begins on a cache line; what lies between them means nothing.
    """

    name = "graph.all_reduce_start"
    xs = var_operand_def(TensorType)
    flight = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$xs attr-dict `:` type($xs) `->` type($flight)"

    def __init__(self, xs: Sequence[SSAValue]):
        super().__init__(operands=[list(xs)], result_types=[bucket_of(xs)])

    def infer_types(self) -> Sequence[TensorType]:
        return [bucket_of(self.xs)]

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> np.ndarray:
        places, total = bucket_places([x.shape for x in operands])
        bucket = np.zeros(at(total), operands[0].dtype)
        for x, start in zip(operands, places, strict=True):
            bucket[start : start + x.size] = x.reshape(-1)
        return bucket


@irdl_op_definition
class AllReduceWaitOp(CollectiveOp):
    """The members of a bucket, summed up."""

    name = "graph.all_reduce_wait"
    flight = operand_def(TensorType)
    outputs = var_result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$flight attr-dict `:` type($flight) `->` type($outputs)"

    def __init__(self, flight: SSAValue, types: Sequence[TensorType]):
        super().__init__(operands=[flight], result_types=[list(types)])

    def infer_types(self) -> Sequence[TensorType]:
        if bucket_of(self.outputs) != self.flight.type:
            raise ShapeError(
                f"all_reduce_wait: {', '.join(type_text(tensor_type(y)) for y in self.outputs)} are not the members of"
                f" {type_text(tensor_type(self.flight))}"
            )
        return [tensor_type(y) for y in self.outputs]

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> tuple[np.ndarray, ...]:
        (bucket,) = operands
        shapes = [tuple(at(e) for e in shape_of(y)) for y in self.outputs]
        places, _ = bucket_places(shapes)
        return tuple(
            bucket[start : start + math.prod(shape)].reshape(shape) for start, shape in zip(places, shapes, strict=True)
        )


@irdl_op_definition
class RankOp(CollectiveOp):
    """The number of this rank, one u32: 0, 1, ..."""

    name = "graph.rank"
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "attr-dict `:` type($result)"

    def __init__(self) -> None:
        super().__init__(result_types=[tensor((), "u32")])

    def infer_types(self) -> Sequence[TensorType]:
        return [tensor((), "u32")]

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> np.ndarray:
        return np.array(_rank.get(), np.uint32)

    @property
    def flat(self) -> bool:
        return True


def bucket_places(shapes: Sequence[Sequence[Extent]]) -> tuple[list[int], Extent]:
    """Where the members of a bucket begin, and how long it is, in elements. One of symbolic size has a bucket of its own."""
    if len(shapes) == 1:
        return [0], dims.prod(list(shapes[0]))
    places, total = [], 0
    for shape in shapes:
        places.append(total)
        total += -(-dims.evaluate(dims.prod(list(shape)), {}) // _LINE) * _LINE
    return places, total


def bucket_of(xs: Sequence[SSAValue]) -> TensorType:
    """The bucket that these travel in. Raises DTypeError, ShapeError for what does not travel together."""
    if not xs:
        raise ShapeError("all_reduce: nothing to sum up")
    dtype = dtype_of(xs[0])
    for x in xs:
        if dtype_of(x) not in DTYPES:
            raise DTypeError(f"all_reduce: {type_text(tensor_type(x))} is not of {', '.join(DTYPES)}")
        if dtype_of(x) != dtype:
            raise DTypeError(f"all_reduce: {dtype} and {dtype_of(x)} do not travel together")
        if len(xs) > 1 and not is_static(shape_of(x)):
            raise ShapeError(f"all_reduce: {shape_text(shape_of(x))} has no fixed size, and travels alone")
    total = bucket_places([shape_of(x) for x in xs])[1]
    if isinstance(total, int) and total > MOST:
        raise ShapeError(f"all_reduce: {total} elements, and {MOST} travel in one piece at most")
    return tensor([total], dtype)


# Builder functions -------------------------------------------------------------------------------------------------------


def replicate(x: SSAValue) -> SSAValue:
    """A replicated value where it meets varying ones."""
    return emit(ReplicateOp(x))[0]


def all_reduce(x: SSAValue) -> SSAValue:
    """The sum over all ranks; f16 and bf16 are added in f32."""
    dtype = dtype_of(x)
    if is_half(dtype):
        return apply_cast(emit(AllReduceOp([apply_cast(x, "f32")]))[0], dtype)
    return emit(AllReduceOp([x]))[0]


def mean_over_ranks(x: SSAValue, ranks: int) -> SSAValue:
    """The mean over all ranks, which are so many."""
    total = all_reduce(x)
    return apply("mul", total, full_like(total, 1 / ranks))


def rank() -> SSAValue:
    """The number of this rank, one u32."""
    return emit(RankOp())[0]
