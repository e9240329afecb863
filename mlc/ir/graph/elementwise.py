"""Element-wise ops: one row each, giving its NumPy meaning and the scalar body that kernels use.

All operands have one shape and one dtype (select's condition and comparisons' results are bool). Broadcasts are explicit ops.
Gradients at kinks and the scalar spellings are documented per row.
"""

from __future__ import annotations

import math as pymath
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import numpy as np
from xdsl.builder import Builder
from xdsl.dialects import arith, math
from xdsl.dialects.builtin import IntegerAttr, StringAttr, TensorType, i1
from xdsl.ir import SSAValue
from xdsl.irdl import (
    ParsePropInAttrDict,
    irdl_op_definition,
    operand_def,
    opt_prop_def,
    result_def,
    traits_def,
)
from xdsl.traits import Pure

from mlc.errors import DTypeError, MlcError, ShapeError
from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.dtypes import TABLE
from mlc.ir.graph import partials, scalar, storage
from mlc.ir.graph.base import Evaluate, GraphOp, as_array, emit, widened
from mlc.ir.graph.derivative import Algebra, Partial, Tangent, Tangents
from mlc.ir.graph.scalar import ScalarFunction
from mlc.ir.graph.short_form import OneType
from mlc.ir.graph.storage import ROUNDINGS, Rounding
from mlc.ir.kernel.scalar_ops import gelu, lanewise, rounded, softplus
from mlc.ir.types import (
    DTYPES,
    dtype_name,
    dtype_of,
    is_float,
    is_half,
    is_integer,
    is_storage,
    numpy_dtype,
    shape_of,
    shape_text,
    tensor,
    tensor_type,
)

Kind = Literal["float", "number", "integer", "bool", "any", "bits", "moved"]
_ADMITS: dict[str, Callable[[str], bool]] = {
    "float": is_float,
    "integer": is_integer,
    "number": lambda d: d != "bool" and not is_storage(d),
    "bool": lambda d: d == "bool",
    "bits": lambda d: not is_float(d) and not is_storage(d),
    "any": lambda d: not is_storage(d),
    "moved": lambda d: True,
}


class PointwiseOp(GraphOp):
    """Each element of the result depends on the operands' elements at the same place. `scalar_body` spells it in arith and math."""

    def scalar_body(self, b: Builder, *values: SSAValue) -> SSAValue:
        """The result for one element; `values` are scalars of the operands' (signless) types."""
        raise NotImplementedError(self.name)

    def on(self, *operands: SSAValue) -> SSAValue:
        """The same function of other operands, at the current position."""
        raise NotImplementedError(self.name)


class ElementwiseOp(OneType, PointwiseOp):
    """One scalar function of operands of one dtype."""

    ROW: ClassVar[Row]

    def infer_types(self) -> Sequence[TensorType]:
        return [infer(self.ROW, self.operands)]

    @property
    def of_arrays(self) -> Callable[..., Any]:
        """The meaning in NumPy for operands of this dtype; a ufunc, where that is all."""
        function, dtype = self.ROW.evaluate, dtype_of(self.operands[-1])
        if isinstance(function, ByKind):
            return function.of_floats if is_float(dtype) else function.of_integers
        return function.function if isinstance(function, Wide) and not is_half(dtype) else function

    def evaluator(self, at: Evaluate) -> Callable[..., np.ndarray]:
        function, dtype = self.of_arrays, numpy_dtype(dtype_of(self.results[0]))
        if isinstance(function, np.ufunc) and shape_of(self.results[0]):
            return function  # without axes its result were a number, no array
        return lambda *operands: as_array(function(*operands), dtype)

    def scalar_body(self, b: Builder, *values: SSAValue) -> SSAValue:
        return self.ROW.scalar(b, dtype_of(self.operands[-1]), *values)

    @property
    def flops(self) -> Extent:
        """One per element, whatever the function."""
        return dims.prod(shape_of(self.results[0]))

    @property
    def flat(self) -> bool:
        return bool(self.ROW.jvp) and not any(self.ROW.jvp)

    @property
    def linear(self) -> tuple[int, ...]:
        return tuple(n for n, partial in enumerate(self.ROW.jvp) if partial is not None)

    def jvp(self, g: Algebra, tangents: Tangents) -> list[Tangent]:
        if not self.ROW.jvp:
            raise self.no_derivative()
        total: Tangent = None
        for partial, t in zip(self.ROW.jvp, tangents, strict=True):
            if partial is not None and t is not None:
                total = g.accumulate(total, partial(g, t, self.results[0], *self.operands))
        return [total]

    def transpose_rule(self, g: Algebra, cotangent: SSAValue, position: int) -> Tangent:
        """The partial derivative is a factor at each element: a diagonal map, which is its own transpose."""
        partial = self.ROW.jvp[position]
        return None if partial is None else partial(g, cotangent, self.results[0], *self.operands)

    def on(self, *operands: SSAValue) -> SSAValue:
        return emit(type(self)(*operands))[0]


@dataclass(frozen=True)
class Row:
    """name, number of operands, dtypes it takes, meaning in NumPy, scalar spelling, partial derivatives by operand (a None among them: 0);
    `to_bool` for predicates, `dear` for what takes more than a few instructions: worth keeping rather than computing twice."""

    name: str
    arity: int
    takes: Kind
    evaluate: Callable[..., Any]
    scalar: ScalarFunction
    jvp: tuple[Partial | None, ...] = ()
    to_bool: bool = False
    doc: str = ""
    dear: bool = False


def infer(row: Row, operands: Sequence[SSAValue]) -> TensorType:
    """The result type, shared by constructor and verifier."""
    last = operands[-1]
    dtype, shape = dtype_of(last), shape_of(last)
    data = operands[1:] if row.name == "select" else operands
    if row.name == "select" and dtype_of(operands[0]) != "bool":
        raise DTypeError(f"select: the condition is {dtype_of(operands[0])}, not bool")
    if not _ADMITS[row.takes](dtype):
        raise DTypeError(f"{row.name}: takes {row.takes} tensors, not {dtype}")
    for value in operands:
        if shape_of(value) != shape:
            raise ShapeError(f"{row.name}: shapes {' and '.join(shape_text(shape_of(v)) for v in operands)} differ")
    for value in data:
        if dtype_of(value) != dtype:
            raise DTypeError(f"{row.name}: dtypes {' and '.join(dtype_of(v) for v in operands)} differ")
    return tensor(shape, "bool") if row.to_bool else tensor_type(last)


@dataclass(frozen=True)
class ByKind:
    """NumPy's function of floats, and what takes its place for integers."""

    of_floats: Callable[..., Any]
    of_integers: Callable[..., Any]

    def __call__(self, *xs: np.ndarray) -> Any:
        return (self.of_floats if is_float(dtype_name(xs[0].dtype)) else self.of_integers)(*xs)


def _whole_divide(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    safe = np.where(y == 0, np.ones_like(y), y)
    quotient = x // safe
    rest = x - quotient * safe
    quotient = quotient + ((rest != 0) & ((x < 0) != (y < 0))).astype(x.dtype)
    return np.where(y == 0, np.zeros_like(quotient), quotient)


def _remainder(function: Callable[..., Any]) -> ByKind:
    """A remainder by an integer 0 is 0."""

    def safe(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.where(y == 0, np.zeros_like(x), function(x, np.where(y == 0, np.ones_like(y), y)))

    return ByKind(function, safe)


def _whole_power(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    negative = y < 0
    result = np.power(x, np.where(negative, np.zeros_like(y), y))
    inverse = np.where(x == 1, 1, np.where(x == -1, np.where(y % 2 == 0, 1, -1), 0)).astype(x.dtype)
    return np.where(negative, inverse, result)


def _shift(function: Callable[..., Any]) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    def shift(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        width = x.dtype.itemsize * 8
        fits = (y >= 0) & (y < width)
        return np.where(fits, function(x, np.where(fits, y, np.zeros_like(y))), np.zeros_like(x))

    return shift


@dataclass(frozen=True)
class Wide:
    """The function with half-precision operands in f32: NumPy has no ufuncs of bf16's own."""

    function: Callable[..., Any]

    def __call__(self, *xs: np.ndarray) -> Any:
        return self.function(*map(widened, xs))


_F = scalar.widened
_ROWS = (
    Row("neg", 1, "number", np.negative, _F(scalar.negate), (partials.neg,)),
    Row("abs", 1, "number", np.abs, _F(scalar.absolute), (partials.absolute,), doc="The derivative at 0 is 0."),
    Row("sign", 1, "number", np.sign, _F(scalar.sign), partials.FLAT),
    Row("exp", 1, "float", Wide(np.exp), _F(scalar.unary(math.ExpOp)), (partials.exp,), dear=True),
    Row("log", 1, "float", Wide(np.log), _F(scalar.unary(math.LogOp)), (partials.log,), dear=True),
    Row("sqrt", 1, "float", Wide(np.sqrt), _F(scalar.unary(math.SqrtOp)), (partials.sqrt,), dear=True),
    Row(
        "rsqrt",
        1,
        "float",
        Wide(lambda x: 1 / np.sqrt(x)),
        _F(scalar.unary(math.RsqrtOp)),
        (partials.rsqrt,),
        dear=True,
    ),
    Row("reciprocal", 1, "float", Wide(lambda x: 1 / x), _F(scalar.reciprocal), (partials.reciprocal,), dear=True),
    Row("sin", 1, "float", Wide(np.sin), _F(scalar.unary(math.SinOp)), (partials.sin,), dear=True),
    Row("cos", 1, "float", Wide(np.cos), _F(scalar.unary(math.CosOp)), (partials.cos,), dear=True),
    Row("tan", 1, "float", Wide(np.tan), _F(scalar.unary(math.TanOp)), (partials.tan,), dear=True),
    Row("asin", 1, "float", Wide(np.arcsin), _F(scalar.unary(math.AsinOp)), (partials.asin,), dear=True),
    Row("acos", 1, "float", Wide(np.arccos), _F(scalar.unary(math.AcosOp)), (partials.acos,), dear=True),
    Row("atan", 1, "float", Wide(np.arctan), _F(scalar.unary(math.AtanOp)), (partials.atan,), dear=True),
    Row("sinh", 1, "float", Wide(np.sinh), _F(scalar.unary(math.SinhOp)), (partials.sinh,), dear=True),
    Row("cosh", 1, "float", Wide(np.cosh), _F(scalar.unary(math.CoshOp)), (partials.cosh,), dear=True),
    Row("asinh", 1, "float", Wide(np.arcsinh), _F(scalar.unary(math.AsinhOp)), (partials.asinh,), dear=True),
    Row("acosh", 1, "float", Wide(np.arccosh), _F(scalar.unary(math.AcoshOp)), (partials.acosh,), dear=True),
    Row("atanh", 1, "float", Wide(np.arctanh), _F(scalar.unary(math.AtanhOp)), (partials.atanh,), dear=True),
    Row("tanh", 1, "float", Wide(np.tanh), _F(scalar.unary(math.TanhOp)), (partials.tanh,), dear=True),
    Row("erf", 1, "float", Wide(lanewise(pymath.erf)), _F(scalar.unary(math.ErfOp)), (partials.erf,), dear=True),
    Row(
        "gelu",
        1,
        "float",
        Wide(gelu),
        _F(scalar.gelu),
        (partials.gelu,),
        doc="x * Phi(x), Phi the distribution function of the normal distribution. Hendrycks, Gimpel 2016.",
        dear=True,
    ),
    Row(
        "expm1",
        1,
        "float",
        Wide(np.expm1),
        _F(scalar.unary(math.ExpM1Op)),
        (partials.expm1,),
        doc="exp(x) - 1, precise where x is tiny.",
        dear=True,
    ),
    Row(
        "log1p",
        1,
        "float",
        Wide(np.log1p),
        _F(scalar.unary(math.Log1pOp)),
        (partials.log1p,),
        doc="log(1 + x), precise where x is tiny.",
        dear=True,
    ),
    Row(
        "softplus",
        1,
        "float",
        Wide(softplus),
        _F(scalar.softplus),
        (partials.softplus,),
        doc="log(1 + exp(x)), which overflows for no x.",
        dear=True,
    ),
    Row(
        "sigmoid", 1, "float", Wide(lambda x: 1 / (1 + np.exp(-x))), _F(scalar.sigmoid), (partials.sigmoid,), dear=True
    ),
    Row(
        "relu",
        1,
        "number",
        lambda x: np.maximum(x, np.zeros_like(x)),
        _F(scalar.relu),
        (partials.relu,),
        doc="The derivative at 0 is 0.",
    ),
    Row("floor", 1, "float", Wide(np.floor), _F(scalar.unary(math.FloorOp)), partials.FLAT),
    Row("ceil", 1, "float", Wide(np.ceil), _F(scalar.unary(math.CeilOp)), partials.FLAT),
    Row(
        "round",
        1,
        "float",
        Wide(np.rint),
        _F(scalar.unary(math.RoundEvenOp)),
        partials.FLAT,
        doc="Halves go to the even neighbour.",
    ),
    Row("bit_not", 1, "integer", np.invert, scalar.invert),
    Row("logical_not", 1, "bool", np.logical_not, scalar.invert),
    Row("is_nan", 1, "float", np.isnan, _F(scalar.is_nan), to_bool=True),
    Row("is_inf", 1, "float", np.isinf, _F(scalar.is_inf), to_bool=True),
    Row("add", 2, "number", np.add, _F(scalar.binary(arith.AddfOp, arith.AddiOp)), (partials.same, partials.same)),
    Row(
        "sub",
        2,
        "number",
        np.subtract,
        _F(scalar.binary(arith.SubfOp, arith.SubiOp)),
        (partials.same, partials.negated),
    ),
    Row(
        "mul",
        2,
        "number",
        np.multiply,
        _F(scalar.binary(arith.MulfOp, arith.MuliOp)),
        (partials.mul_lhs, partials.mul_rhs),
    ),
    Row(
        "div",
        2,
        "number",
        ByKind(np.divide, _whole_divide),
        _F(scalar.divide),
        (partials.div_lhs, partials.div_rhs),
        doc="Integers truncate toward zero; x / 0 is 0 for them.",
        dear=True,
    ),
    Row(
        "pow",
        2,
        "number",
        ByKind(np.power, _whole_power),
        _F(scalar.power),
        (partials.pow_base, partials.pow_exponent),
        dear=True,
    ),
    Row(
        "mod",
        2,
        "number",
        _remainder(np.mod),
        _F(scalar.modulo),
        (partials.same, partials.mod_rhs),
        doc="The sign of the divisor, as in Python.",
        dear=True,
    ),
    Row(
        "fmod",
        2,
        "number",
        _remainder(np.fmod),
        _F(scalar.remainder),
        (partials.same, partials.mod_rhs),
        doc="The sign of the dividend, as in C.",
        dear=True,
    ),
    Row(
        "maximum",
        2,
        "any",
        np.maximum,
        _F(scalar.binary(arith.MaximumfOp, arith.MaxSIOp, arith.MaxUIOp)),
        partials.maximum,
        doc="A NaN wins.",
    ),
    Row(
        "minimum",
        2,
        "any",
        np.minimum,
        _F(scalar.binary(arith.MinimumfOp, arith.MinSIOp, arith.MinUIOp)),
        partials.minimum,
        doc="A NaN wins.",
    ),
    Row("bit_and", 2, "integer", np.bitwise_and, scalar.binary(None, arith.AndIOp)),
    Row("bit_or", 2, "integer", np.bitwise_or, scalar.binary(None, arith.OrIOp)),
    Row("bit_xor", 2, "integer", np.bitwise_xor, scalar.binary(None, arith.XOrIOp)),
    Row("shift_left", 2, "integer", _shift(np.left_shift), scalar.shift(left=True)),
    Row("shift_right", 2, "integer", _shift(np.right_shift), scalar.shift(left=False)),
    Row("logical_and", 2, "bool", np.logical_and, scalar.binary(None, arith.AndIOp)),
    Row("logical_or", 2, "bool", np.logical_or, scalar.binary(None, arith.OrIOp)),
    Row("logical_xor", 2, "bool", np.logical_xor, scalar.binary(None, arith.XOrIOp)),
    Row("eq", 2, "any", np.equal, scalar.compare("oeq", "eq", "eq"), to_bool=True),
    Row("ne", 2, "any", np.not_equal, scalar.compare("une", "ne", "ne"), to_bool=True),
    Row("lt", 2, "any", np.less, scalar.compare("olt", "slt", "ult"), to_bool=True),
    Row("le", 2, "any", np.less_equal, scalar.compare("ole", "sle", "ule"), to_bool=True),
    Row("gt", 2, "any", np.greater, scalar.compare("ogt", "sgt", "ugt"), to_bool=True),
    Row("ge", 2, "any", np.greater_equal, scalar.compare("oge", "sge", "uge"), to_bool=True),
    Row(
        "select",
        3,
        "moved",
        np.where,
        lambda b, dtype, c, x, y: scalar.select(b, c, x, y),
        (None, partials.select_x, partials.select_y),
        doc="x where the condition holds, else y.",
    ),
)


def _define(row: Row) -> type[ElementwiseOp]:
    names = {1: ("x",), 2: ("lhs", "rhs"), 3: ("condition", "x", "y")}[row.arity]

    def init(self: Any, *values: SSAValue) -> None:
        GraphOp.__init__(self, operands=list(values), result_types=[infer(row, values)])

    body = {
        "__module__": __name__,
        "__doc__": f"{row.name} of {', '.join(names)}, element by element. {row.doc}".strip(),
        "__annotations__": {"ROW": "ClassVar[Row]"},
        "name": f"graph.{row.name}",
        "ROW": row,
        **{n: operand_def(TensorType) for n in names},
        "result": result_def(TensorType),
        "traits": traits_def(Pure()),
        "__init__": init,
    }
    title = "".join(part.capitalize() for part in row.name.split("_")) + "Op"
    return irdl_op_definition(types.new_class(title, (ElementwiseOp,), {}, lambda ns: ns.update(body)))


OPS: dict[str, type[ElementwiseOp]] = {row.name: _define(row) for row in _ROWS}


def apply(name: str, *operands: SSAValue) -> SSAValue:
    """The element-wise op of this name at the current position."""
    return emit(OPS[name](*operands))[0]


@irdl_op_definition
class CastOp(PointwiseOp):
    """Each element in another dtype. A float becomes an integer by truncation, saturating, NaN as 0; anything becomes bool by != 0. Integers
    below a byte take the low bits, of a float those of its i32.

    To a small float: beyond its range the largest number, or infinity or NaN with `saturate = false`; to f8e8m0 `rounding` says which power
    of two (up, down, nearest).
    """

    name = "graph.cast"
    x = operand_def(TensorType)
    saturate = opt_prop_def(IntegerAttr)
    rounding = opt_prop_def(StringAttr)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$x attr-dict `:` type($x) `->` type($result)"
    irdl_options = (ParsePropInAttrDict(),)

    def __init__(self, x: SSAValue, dtype: str, saturate: bool = True, rounding: Rounding = "up"):
        if dtype not in DTYPES:
            raise DTypeError(f"cast: no dtype {dtype!r}; there are {', '.join(DTYPES)}")
        if rounding not in ROUNDINGS:
            raise MlcError(f"cast: no rounding {rounding!r}; there are {', '.join(ROUNDINGS)}")
        super().__init__(
            operands=[x],
            properties={
                "saturate": None if saturate else IntegerAttr(0, i1),
                "rounding": None if rounding == "up" else StringAttr(rounding),
            },
            result_types=[tensor(shape_of(x), dtype)],
        )

    @property
    def mode(self) -> tuple[bool, Rounding]:
        """Whether it saturates, and how it rounds to powers of two."""
        saturate = self.saturate is None or bool(self.saturate.value.data)
        return saturate, "up" if self.rounding is None else cast(Rounding, self.rounding.data)

    def infer_types(self) -> Sequence[TensorType]:
        if self.mode[1] not in ROUNDINGS:
            raise MlcError(f"cast: no rounding {self.mode[1]!r}; there are {', '.join(ROUNDINGS)}")
        return [tensor(shape_of(self.x), dtype_of(self.result))]

    def evaluator(self, at: Evaluate) -> Callable[..., np.ndarray]:
        dtype, mode = dtype_of(self.result), self.mode
        return lambda x: cast_array(x, dtype, *mode)

    @property
    def linear(self) -> tuple[int, ...]:
        return (0,) if is_float(dtype_of(self.x)) and is_float(dtype_of(self.result)) else ()

    def transpose_rule(self, g: Algebra, cotangent: SSAValue, position: int) -> Tangent:
        return g.cast(cotangent, dtype_of(self.x))

    def scalar_body(self, b: Builder, *values: SSAValue) -> SSAValue:
        return scalar.cast(b, dtype_of(self.x), dtype_of(self.result), values[0], *self.mode)

    def on(self, *operands: SSAValue) -> SSAValue:
        (x,) = operands
        return emit(CastOp(x, dtype_of(self.result), *self.mode))[0]


def cast_array(x: np.ndarray, dtype: str, saturate: bool = True, rounding: Rounding = "up") -> np.ndarray:
    source, target = TABLE[dtype_name(x.dtype)], TABLE[dtype]
    if source is target:
        return x
    if source.storage:
        x = storage.decode_array(x, source)
    source_float = source.kind == "float"
    if target.storage:
        if target.format is None and source_float:
            x = _whole(x, -(1 << 31), (1 << 31) - 1, np.dtype(np.int32))
        return storage.encode_array(x, target, saturate, rounding)
    if dtype == "bool":
        return x.astype(np.float32) != 0 if source_float and x.dtype != np.float64 else x != 0
    if source_float and is_integer(dtype):
        info = np.iinfo(target.numpy)
        return _whole(x, info.min, info.max, target.numpy)
    return rounded(x, target.numpy)


def _whole(x: np.ndarray, low: float, high: float, target: np.dtype) -> np.ndarray:
    """Floats truncated, saturating, NaN as 0."""
    wide = np.trunc(np.nan_to_num(x.astype(np.float64), nan=0.0, posinf=np.inf, neginf=-np.inf))
    inside = (wide > float(low) - 1) & (wide < float(high))
    return np.where(inside, np.where(inside, wide, 0).astype(target), np.where(wide > 0, high, low)).astype(target)


@irdl_op_definition
class BitcastOp(PointwiseOp):
    """The bits of each element read as another dtype of the same width; i1 of a byte is whether it is 0. Raises DTypeError."""

    name = "graph.bitcast"
    x = operand_def(TensorType)
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$x attr-dict `:` type($x) `->` type($result)"

    def __init__(self, x: SSAValue, dtype: str):
        super().__init__(operands=[x], result_types=[self.infer(x, dtype)])

    @staticmethod
    def infer(x: SSAValue, dtype: str) -> TensorType:
        source, target = TABLE[dtype_of(x)], TABLE[dtype]
        if max(source.bits, source.kind == "bool" and 8) != max(target.bits, target.kind == "bool" and 8):
            raise DTypeError(f"bitcast: {source.name} has {source.bits} bits, {target.name} has {target.bits}")
        return tensor(shape_of(x), dtype)

    def infer_types(self) -> Sequence[TensorType]:
        return [self.infer(self.x, dtype_of(self.result))]

    def evaluate(self, at: Evaluate, *operands: np.ndarray) -> np.ndarray:
        (x,) = operands
        dtype = dtype_of(self.result)
        return x.view(np.uint8) != 0 if dtype == "bool" else x.view(numpy_dtype(dtype))

    def scalar_body(self, b: Builder, *values: SSAValue) -> SSAValue:
        return scalar.bitcast(b, dtype_of(self.x), dtype_of(self.result), values[0])

    def on(self, *operands: SSAValue) -> SSAValue:
        (x,) = operands
        return emit(BitcastOp(x, dtype_of(self.result)))[0]


def apply_cast(x: SSAValue, dtype: str, saturate: bool = True, rounding: Rounding = "up") -> SSAValue:
    """x in another dtype; x itself where it has it."""
    return x if dtype_of(x) == dtype else emit(CastOp(x, dtype, saturate, rounding))[0]


def apply_bitcast(x: SSAValue, dtype: str) -> SSAValue:
    """The bits of x as another dtype of the same width."""
    return x if dtype_of(x) == dtype else emit(BitcastOp(x, dtype))[0]
