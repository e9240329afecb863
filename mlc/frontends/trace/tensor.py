"""Tensors: immutable values with NumPy's operators, that run at once, or write what they do into the function being traced.

`bind` is the one door: whatever is done to tensors is a function of the IR (frontends/trace/functions) with operands and parameters. Where all
operands hold arrays it is evaluated (eager.py); where one is symbolic its ops go into the trace, and arrays become constants there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

import numpy as np
from xdsl.ir import SSAValue

from mlc.errors import DTypeError, MlcError, OutOfRange, ShapeError, UnsupportedOp
from mlc.frontends.trace import eager, tape
from mlc.frontends.trace.eager import GraphFunction
from mlc.frontends.trace.functions import arrangement, elementwise, linear, reductions
from mlc.frontends.trace.functions import index as indexing
from mlc.frontends.trace.functions.promotion import DEFAULT, Operand, Weak
from mlc.frontends.trace.index_syntax import Index, has_sizes, normal_index
from mlc.frontends.trace.parameters import axes_from, axis_from, dtype_text, shape_from
from mlc.frontends.trace.tracing import Trace, current_trace, user_line, user_location
from mlc.ir import builder as g
from mlc.ir.dims import Dim, Extent
from mlc.ir.types import DTYPES, dtype_name, dtype_of, is_float, numpy_dtype, shape_of, shape_text

Params = tuple[tuple[str, Any], ...]
UFUNCS: dict[Any, Callable[..., Any]] = {}  # NumPy's function -> ours; filled by mlc/numpy.py
FUNCTIONS: dict[Any, Callable[..., Any]] = {}


class Tensor:
    """An immutable tensor: `mlc.Tensor([[1.0, 2.0]])`, `mlc.numpy.array(...)`. Python floats become f32, NumPy arrays keep their dtype.

    Operators, methods, index and dtypes are NumPy's. `x += y` gives the name x to a new value; `x.at[i].set(v)` is x with v written at i.
    While a function is traced its tensors are symbolic: they have a shape and a dtype, and no numbers.
    """

    data: Any  # an array, or the value of the IR of a symbolic tensor
    trace: Trace | None = None  # of a symbolic tensor
    weak: type | None = None  # the kind of a symbolic Python number
    requires_grad: bool = False
    grad: Tensor | None = None  # what backward() has found, of a leaf
    node: tape.Node | None = None  # what made it, where that is remembered, and which of the results it is
    place: int = 0
    hooks: dict[int, tape.Hook] | None = None  # of a leaf
    __array_priority__ = 1000

    def __init__(self, value: Any, dtype: Any = None, requires_grad: bool = False):
        self.data = array_of(value, dtype, copy=True)
        if requires_grad:
            self.requires_grad_()

    # What it is ----------------------------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[Extent, ...]:
        """Extents: numbers, and in a trace also expressions of symbolic sizes."""
        return self.data.shape if self.trace is None else shape_of(self.data)

    @property
    def dtype(self) -> np.dtype:
        return self.data.dtype if self.trace is None else numpy_dtype(dtype_of(self.data))

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> Extent:
        return g.dims.prod(self.shape)

    @property
    def nbytes(self) -> Extent:
        return self.size * self.dtype.itemsize

    @property
    def T(self) -> Tensor:
        return self.transpose()

    @property
    def mT(self) -> Tensor:
        return self.swapaxes(-1, -2)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a tensor without axes has no length")
        if isinstance(self.shape[0], Dim):
            self._no_number("len(x)", f"x.shape[0] is {self.shape[0]}, and may be used in shapes.")
        return int(self.shape[0])

    def __repr__(self) -> str:
        if self.trace is not None:
            return f"Tensor({type_text(self)}, traced in {self.trace.name})"
        text = np.array2string(self.data, separator=", ", prefix="Tensor(")
        more = ", requires_grad=True" if self.requires_grad else ""
        return f"Tensor({text}, dtype={dtype_name(self.data.dtype)}{more})"

    __hash__ = object.__hash__

    # Its numbers ---------------------------------------------------------------------------------------------------------

    def numpy(self) -> np.ndarray:
        """The array, which is read-only: .copy() is one that may be written."""
        if self.trace is not None:
            self._no_number("x.numpy()")
        found = self.data.view()
        found.flags.writeable = False
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self.trace is not None:
            self._no_number("numpy.asarray(x)", "Use the functions of mlc.numpy on it.")
        found = self.numpy() if dtype is None else self.data.astype(dtype, copy=False)
        return found.copy() if copy else found

    def __dlpack__(self, **options: Any) -> Any:
        if self.trace is not None:
            self._no_number("x.__dlpack__()")
        return self.data.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    def item(self) -> Any:
        """The one element as a Python number."""
        if self.trace is not None:
            self._no_number("x.item()")
        return self.data.item()

    def tolist(self) -> Any:
        if self.trace is not None:
            self._no_number("x.tolist()")
        return self.data.tolist()

    def __float__(self) -> float:
        return float(self._number("float(x)"))

    def __int__(self) -> int:
        return int(self._number("int(x)"))

    def __index__(self) -> int:
        if self.trace is None and self.data.dtype.kind not in "iu":
            raise TypeError(f"a tensor of {self.data.dtype} is no index")
        return int(self._number("an index"))

    def __bool__(self) -> bool:
        if self.trace is not None:
            self._no_number("`if x:`", "mlc.cond(x, then, otherwise) and mlc.while_loop decide when the code runs.")
        return bool(self._number("bool(x)"))

    def __format__(self, spec: str) -> str:
        if self.trace is None and not self.shape:
            return format(self.data.item(), spec)
        try:
            return format(repr(self), spec)
        except ValueError:
            return format(self._number(f"the format '{spec}'"), spec)

    def _number(self, what: str) -> Any:
        if self.trace is not None:
            self._no_number(what)
        if self.data.size != 1:
            raise ShapeError(f"{what} of {type_text(self)}, which has {self.data.size} elements", file=user_line())
        return self.data.item()

    def _no_number(self, what: str, remedy: str | None = None) -> NoReturn:
        assert self.trace is not None
        raise MlcError(
            f"{what} asks for the numbers of a traced value, {type_text(self)}: while '{self.trace.name}' is traced there are none",
            file=user_line(),
            remedy=remedy or "Compute with the tensor itself; or make the argument static: mlc.jit(f, static=[...]).",
        )

    # Gradients -----------------------------------------------------------------------------------------------------------

    def requires_grad_(self, flag: bool = True) -> Tensor:
        """Have backward() find the gradient by this tensor, or not; the tensor itself. Raises DTypeError for integers."""
        if flag and not is_float(dtype_name(self.dtype)):
            raise DTypeError(f"no gradient by {type_text(self)}: derivatives are by floats", file=user_line())
        self.requires_grad = flag
        return self

    def backward(self, gradient: Any = None, retain_graph: bool = False, create_graph: bool = False) -> None:
        """Add to x.grad the gradient of this tensor, one number, by every x that it was made of and that requires one.

        `gradient` is the cotangent of a tensor of any shape. What was remembered of the way is forgotten, unless retain_graph or create_graph
        say otherwise; with create_graph gradients may be differentiated again. Raises MlcError, ShapeError, NoDerivative.
        """
        if self.trace is not None:
            raise MlcError(
                f"backward() while '{self.trace.name}' is traced",
                file=user_line(),
                remedy="mlc.grad and mlc.value_and_grad are functions.",
            )
        if not self.requires_grad:
            raise MlcError(
                f"backward() of {type_text(self)}, which was made of nothing that requires a gradient",
                file=user_line(),
                remedy="mlc.Tensor(value, requires_grad=True) does, outside of mlc.no_grad().",
            )
        if gradient is None and self.data.size != 1:
            raise ShapeError(
                f"a gradient is of one number, and this is {type_text(self)}",
                file=user_line(),
                remedy="Take .sum() or .mean() of it, or give its cotangent: backward(gradient).",
            )
        seed = wrap(np.ones_like(self.data) if gradient is None else array_of(gradient, self.dtype, copy=False))
        if isinstance(gradient, Tensor):
            seed = gradient.astype(self.dtype)
        if seed.shape != self.shape:
            raise ShapeError(f"the gradient is {type_text(seed)}, and belongs to {type_text(self)}", file=user_line())
        walk = tape.Walk(bind, wrap, lambda x, y: bind(elementwise.add, (x, y)))
        walk.run(self, seed, retain_graph, create_graph)

    def detach(self) -> Tensor:
        """The same numbers as a constant: nothing behind them gets a gradient."""
        return wrap(self.data) if self.trace is None else bind(elementwise.stop_gradient, (self,))

    def register_hook(self, hook: tape.Hook) -> tape.Handle:
        """Have backward() call hook(gradient) when the gradient by this tensor is complete; what it returns, unless None, takes its place."""
        return tape.hook_on(self, hook)

    # Parts ---------------------------------------------------------------------------------------------------------------

    def __getitem__(self, index: Any) -> Tensor:
        if self.trace is None and not self.requires_grad and (plain := _arrays_in(index)) is not None:
            try:
                return wrap(self.data[plain])
            except IndexError as error:
                raise OutOfRange(f"{error}; x is {type_text(self)}", file=user_line()) from error
        entries, arrays = _normal(index, self)
        door = record if has_sizes(entries) else bind
        return door(indexing.getitem, (self, *arrays), (("index", entries),))

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        raise MlcError(
            f"x[...] = value would change a tensor, {type_text(self)}, and tensors are immutable",
            file=user_line(),
            remedy="Write x = x.at[...].set(value); also add, multiply, min, max in place of set.",
        )

    @property
    def at(self) -> At:
        """x.at[index].set(v): x with v at the index. Also add, multiply, min, max."""
        return At(self)

    def __iter__(self) -> Iterator[Tensor]:
        if not self.shape:
            raise TypeError("a tensor without axes has no rows")
        if self.trace is None and not self.requires_grad:
            return map(wrap, self.data)
        return iter(bind(arrangement.unstack, (self,)))

    # Operators -----------------------------------------------------------------------------------------------------------

    def __add__(self, other: Any) -> Tensor:
        return bind(elementwise.add, (self, other))

    def __radd__(self, other: Any) -> Tensor:
        return bind(elementwise.add, (other, self))

    def __sub__(self, other: Any) -> Tensor:
        return bind(elementwise.subtract, (self, other))

    def __rsub__(self, other: Any) -> Tensor:
        return bind(elementwise.subtract, (other, self))

    def __mul__(self, other: Any) -> Tensor:
        return bind(elementwise.multiply, (self, other))

    def __rmul__(self, other: Any) -> Tensor:
        return bind(elementwise.multiply, (other, self))

    def __truediv__(self, other: Any) -> Tensor:
        return bind(elementwise.divide, (self, other))

    def __rtruediv__(self, other: Any) -> Tensor:
        return bind(elementwise.divide, (other, self))

    def __floordiv__(self, other: Any) -> Tensor:
        return bind(elementwise.floor_divide, (self, other))

    def __rfloordiv__(self, other: Any) -> Tensor:
        return bind(elementwise.floor_divide, (other, self))

    def __mod__(self, other: Any) -> Tensor:
        return bind(elementwise.remainder, (self, other))

    def __rmod__(self, other: Any) -> Tensor:
        return bind(elementwise.remainder, (other, self))

    def __pow__(self, other: Any) -> Tensor:
        return raised(self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return raised(other, self)

    def __matmul__(self, other: Any) -> Tensor:
        return bind(linear.matmul, (self, other))

    def __rmatmul__(self, other: Any) -> Tensor:
        return bind(linear.matmul, (other, self))

    def __neg__(self) -> Tensor:
        return bind(elementwise.negative, (self,))

    def __pos__(self) -> Tensor:
        return self

    def __abs__(self) -> Tensor:
        return bind(elementwise.absolute, (self,))

    def __invert__(self) -> Tensor:
        return bind(elementwise.invert, (self,))

    def __and__(self, other: Any) -> Tensor:
        return bind(elementwise.bitwise_and, (self, other))

    def __rand__(self, other: Any) -> Tensor:
        return bind(elementwise.bitwise_and, (other, self))

    def __or__(self, other: Any) -> Tensor:
        return bind(elementwise.bitwise_or, (self, other))

    def __ror__(self, other: Any) -> Tensor:
        return bind(elementwise.bitwise_or, (other, self))

    def __xor__(self, other: Any) -> Tensor:
        return bind(elementwise.bitwise_xor, (self, other))

    def __rxor__(self, other: Any) -> Tensor:
        return bind(elementwise.bitwise_xor, (other, self))

    def __lshift__(self, other: Any) -> Tensor:
        return bind(elementwise.left_shift, (self, other))

    def __rlshift__(self, other: Any) -> Tensor:
        return bind(elementwise.left_shift, (other, self))

    def __rshift__(self, other: Any) -> Tensor:
        return bind(elementwise.right_shift, (self, other))

    def __rrshift__(self, other: Any) -> Tensor:
        return bind(elementwise.right_shift, (other, self))

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        return NotImplemented if other is None or isinstance(other, str) else bind(elementwise.equal, (self, other))

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return NotImplemented if other is None or isinstance(other, str) else bind(elementwise.not_equal, (self, other))

    def __lt__(self, other: Any) -> Tensor:
        return bind(elementwise.less, (self, other))

    def __le__(self, other: Any) -> Tensor:
        return bind(elementwise.less_equal, (self, other))

    def __gt__(self, other: Any) -> Tensor:
        return bind(elementwise.greater, (self, other))

    def __ge__(self, other: Any) -> Tensor:
        return bind(elementwise.greater_equal, (self, other))

    # Methods, as NumPy has them --------------------------------------------------------------------------------------------

    def astype(self, dtype: Any) -> Tensor:
        return bind(elementwise.astype, (self,), (("dtype", dtype_text(dtype)),))

    def reshape(self, *shape: Any) -> Tensor:
        return bind(arrangement.reshape, (self,), (("shape", shape_from(shape)),))

    def ravel(self) -> Tensor:
        return self.reshape(-1)

    def flatten(self) -> Tensor:
        return self.reshape(-1)

    def transpose(self, *axes: Any) -> Tensor:
        given = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes or None
        return bind(arrangement.transpose, (self,), (("axes", axis_from(given)),))

    def swapaxes(self, axis1: int, axis2: int) -> Tensor:
        return bind(arrangement.swapaxes, (self,), (("axis1", axis1), ("axis2", axis2)))

    def squeeze(self, axis: Any = None) -> Tensor:
        return bind(arrangement.squeeze, (self,), (("axis", axes_from(axis)),))

    def sum(self, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Tensor:
        return reduced(reductions.sum, self, axis, keepdims, dtype)

    def prod(self, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Tensor:
        return reduced(reductions.prod, self, axis, keepdims, dtype)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return reduced(reductions.mean, self, axis, keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return reduced(reductions.max, self, axis, keepdims)

    def min(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return reduced(reductions.min, self, axis, keepdims)

    def any(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return reduced(reductions.any, self, axis, keepdims)

    def all(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return reduced(reductions.all, self, axis, keepdims)

    def var(self, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
        return bind(reductions.var, (self,), (("axis", axis_from(axis)), ("keepdims", keepdims), ("ddof", ddof)))

    def std(self, axis: Any = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
        return bind(reductions.std, (self,), (("axis", axis_from(axis)), ("keepdims", keepdims), ("ddof", ddof)))

    def argmax(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        return bind(reductions.argmax, (self,), (("axis", axis), ("keepdims", keepdims)))

    def argmin(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        return bind(reductions.argmin, (self,), (("axis", axis), ("keepdims", keepdims)))

    def cumsum(self, axis: int | None = None) -> Tensor:
        return bind(reductions.cumsum, (self,), (("axis", axis),))

    def dot(self, other: Any) -> Tensor:
        return bind(linear.dot, (self, other))

    def clip(self, min: Any = None, max: Any = None) -> Tensor:
        return clipped(self, min, max)

    def round(self) -> Tensor:
        return bind(elementwise.rint, (self,))

    def copy(self) -> Tensor:
        """The tensor itself: it never changes."""
        return self

    # NumPy's functions on tensors are ours -----------------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        function = UFUNCS.get(ufunc)
        if function is not None and method == "__call__" and not options:
            return function(*inputs)
        if not all(isinstance(x, Tensor | np.ndarray | np.generic | int | float) for x in inputs):
            return NotImplemented  # a type of someone else may know
        if options.get("out") is not None:
            raise NotForTensors(
                f"numpy.{ufunc.__name__} would write its result into an array, and tensors are values",
                file=user_line(),
                remedy="Write a = a + x in place of a += x, or a += x.numpy().",
            )
        raise _no_counterpart(ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}")

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        ours = FUNCTIONS.get(function)
        if ours is not None:
            return ours(*args, **kwargs)
        if not all(issubclass(kind, Tensor | np.ndarray) for kind in types):
            return NotImplemented
        raise _no_counterpart(f"{function.__module__}.{function.__name__}".removeprefix("numpy."))


class NotForTensors(UnsupportedOp, TypeError):
    """NumPy is asked for what tensors have not; a TypeError, as NumPy's own refusals are."""


def _no_counterpart(name: str) -> NotForTensors:
    return NotForTensors(
        f"numpy.{name} has no counterpart for tensors",
        file=user_line(),
        remedy=f"Outside of traced functions x.numpy() is an array, which numpy.{name} takes.",
    )


class At:
    """x.at; see Tensor.at."""

    def __init__(self, x: Tensor):
        self.x = x

    def __getitem__(self, index: Any) -> Place:
        return Place(self.x, index)


class Place:
    """x.at[index]: what x holds there may be replaced, in a new tensor."""

    def __init__(self, x: Tensor, index: Any):
        self.x, self.index = x, index

    def get(self) -> Tensor:
        return self.x[self.index]

    def set(self, value: Any) -> Tensor:
        """x with the value at the index; of places that are named twice the last has it."""
        return self._written(value, "set")

    def add(self, value: Any) -> Tensor:
        """x with the value added at the index, as often as a place is named."""
        return self._written(value, "add")

    def multiply(self, value: Any) -> Tensor:
        return self._written(value, "mul")

    def min(self, value: Any) -> Tensor:
        return self._written(value, "min")

    def max(self, value: Any) -> Tensor:
        return self._written(value, "max")

    def _written(self, value: Any, kind: str) -> Tensor:
        plain = _arrays_in(self.index)
        if plain is not None and not any(
            isinstance(x, Tensor) and (x.trace or x.requires_grad) for x in (self.x, value)
        ):
            return self._written_at_once(value, plain, kind)
        entries, arrays = _normal(self.index, self.x)
        return bind(indexing.update, (self.x, value, *arrays), (("index", entries), ("kind", kind)))

    def _written_at_once(self, value: Any, index: Any, kind: str) -> Tensor:
        """By NumPy: each index were a signature of its own."""
        try:
            if type(value) in DEFAULT:
                new = np.array(value, self.x.data.dtype)
            else:
                new = bind(elementwise.astype, (value,), (("dtype", dtype_name(self.x.dtype)),)).data
            found = self.x.data.copy()
            if kind == "set":
                found[index] = new
            elif any(isinstance(part, np.ndarray | list) for part in (index if isinstance(index, tuple) else (index,))):
                _FOLD[kind].at(found, index, new)  # places may be named several times
            else:
                found[index] = _FOLD[kind](found[index], new)
        except IndexError as error:
            raise OutOfRange(f"{error}; x is {type_text(self.x)}", file=user_line()) from error
        except OverflowError as error:
            raise DTypeError(f"the number {value} is out of the range of {self.x.dtype}", file=user_line()) from error
        except ValueError as error:
            raise ShapeError(f"{error}; x is {type_text(self.x)}", file=user_line()) from error
        return wrap(found)


_FOLD = {"add": np.add, "mul": np.multiply, "min": np.minimum, "max": np.maximum}


# The door ----------------------------------------------------------------------------------------------------------------


def wrap(array: Any) -> Tensor:
    """The tensor of an array."""
    made = _new(Tensor)
    made.data = array if type(array) is np.ndarray else np.asarray(array)
    return made


_new = Tensor.__new__


def symbolic(value: SSAValue, trace: Trace, weak: type | None = None) -> Tensor:
    """The tensor of a value in a trace."""
    made = Tensor.__new__(Tensor)
    made.data, made.trace = value, trace
    if weak is not None:
        made.weak = weak
    return made


def bind(function: GraphFunction, operands: Sequence[Any], params: Params = ()) -> Any:
    """function(*operands, **params) of tensors, arrays and Python numbers: a tensor, or a tuple of tensors.

    `function` builds ops from values of the IR and numbers (promotion.Operand). Raises MlcError naming the user's line.
    """
    data: list[Any] = []
    key: list[Any] = [function, params]
    differentiated = False
    for x in operands:
        kind = type(x)
        if isinstance(x, Tensor) and x.trace is None:
            array = x.data
            key += (array.shape, array.dtype)
            data.append(array)
            if x.requires_grad:
                differentiated = True
        elif kind is float or kind is int or kind is bool:
            key += (None, kind)
            data.append(x)
        else:
            return _bind(function, operands, params)
    try:
        found = eager.run(tuple(key), data)
    except MlcError as error:
        raise located(error, function, operands) from None
    result = tuple(map(wrap, found)) if type(found) is tuple else wrap(found)
    if differentiated:
        tape.note(eager.call_of(tuple(key)), operands, data, result if isinstance(result, tuple) else (result,))
    return result


def _bind(function: GraphFunction, operands: Sequence[Any], params: Params) -> Any:
    """`bind` where some operands are neither tensors that hold arrays nor numbers."""
    given = [x if isinstance(x, Tensor | Dim) or type(x) in DEFAULT else _operand(x) for x in operands]
    if any(isinstance(x, Dim) or (isinstance(x, Tensor) and x.trace is not None) for x in given):
        return record(function, given, params)
    return bind(function, given, params)


def _operand(x: Any) -> Tensor:
    if x is None or isinstance(x, str):
        raise MlcError(f"{x!r} is no tensor", file=user_line())
    return wrap(array_of(x, None, copy=False))


def record(function: GraphFunction, operands: Sequence[Any], params: Params) -> Any:
    """Write the function's ops into the trace that is under way."""
    trace = current_trace()
    if trace is None:
        raise _leaked(operands)
    with g.location(user_location()):
        values = [value_in(trace, x) for x in operands]
        try:
            found = function(*values, **dict(params))
        except MlcError as error:
            raise located(error, function, operands) from None
    weak = function in _OF_NUMBERS and all(isinstance(x, Weak) for x in values)
    if isinstance(found, SSAValue):
        return symbolic(found, trace, _NUMBERS.get(dtype_of(found)) if weak else None)
    return tuple(symbolic(each, trace) for each in found)


# Arithmetic of numbers gives numbers: of arguments that are Python numbers, what Python would compute of them.
_OF_NUMBERS: set[GraphFunction] = {
    elementwise.add,
    elementwise.subtract,
    elementwise.multiply,
    elementwise.divide,
    elementwise.floor_divide,
    elementwise.remainder,
    elementwise.power_of,
    elementwise.negative,
    elementwise.absolute,
}
_NUMBERS: dict[str, type] = {"f64": float, "i64": int}


def value_in(trace: Trace, x: Any) -> Operand:
    """A tensor or number as an operand of ops in a trace."""
    if isinstance(x, Dim):
        return Weak(int, lambda dtype: g.cast(g.dimension(x), dtype))
    if not isinstance(x, Tensor):
        return Weak(type(x), lambda dtype: _scalar(x, dtype))
    if x.trace is None:
        trace.outermost.captured[id(x)] = x, x.data
        return trace.constant(x.data)
    if not x.trace.open or not trace.within(x.trace):
        raise _leaked([x])
    value = trace.lift(x.data, x.trace)
    return value if x.weak is None else Weak(x.weak, lambda dtype: g.cast(value, dtype), dtype_of(value))


def _scalar(number: float, dtype: str) -> SSAValue:
    try:
        return g.constant(np.array(number, numpy_dtype(dtype)))
    except OverflowError as error:
        raise DTypeError(f"the number {number} is out of the range of {dtype}") from error


def _leaked(operands: Sequence[Any]) -> MlcError:
    for x in operands:
        if isinstance(x, Tensor) and x.trace is not None:
            return MlcError(
                f"a traced value, {type_text(x)}, is used outside of '{x.trace.name}', whose trace it belongs to",
                file=user_line(),
                remedy="Return it from the function instead of keeping it in a variable from outside.",
            )
    return MlcError("a symbolic size is used as a number outside of a trace", file=user_line())


def located(error: MlcError, function: GraphFunction, operands: Sequence[Any]) -> MlcError:
    """The error, with the user's line and what the operands are."""
    name = function.__name__
    if not error.message.startswith(name):
        error.message = f"{name}: {error.message}"
    if error.file is None:
        error.file = user_line()
    if not error.shapes:
        rows = [(f"operand {n}", "", type_text(x)) for n, x in enumerate(operands) if isinstance(x, Tensor)]
        error.shapes = MlcError("", shapes=rows).shapes
    return error


# What users write, as parameters -----------------------------------------------------------------------------------------


_HOST = (1, 3)  # kinds of devices, as DLPack numbers them: CPU, and memory of the host that CUDA pinned


def array_of(value: Any, dtype: Any, copy: bool) -> np.ndarray:
    """The array of a tensor, array, number or nested sequence of these. Python floats are f32, NumPy arrays keep their dtype."""
    wanted = None if dtype is None else numpy_dtype(dtype_text(dtype))
    if isinstance(value, Tensor):
        value = value.numpy()
    if isinstance(value, np.ma.MaskedArray):
        raise MlcError(
            "a masked array is no tensor", file=user_line(), remedy="Say what its masked elements are: x.filled(0)."
        )
    own = isinstance(value, np.ndarray | np.generic)
    if not own and (device := getattr(value, "__dlpack_device__", None)) is not None and device()[0] not in _HOST:
        raise MlcError(
            f"this {type(value).__name__} lies on another device, and tensors lie in the memory of the host",
            file=user_line(),
            remedy="Copy it there: x.numpy(), of PyTorch x.cpu(), of CuPy x.get(). Executables of target cuda take it where it lies:"
            " mlc.compile(..., target='cuda'), or f.lower(example, target='cuda').compile().executable.",
        )
    try:
        found = np.array(value, wanted) if copy else np.asarray(value, wanted)
    except (ValueError, TypeError, OverflowError) as error:
        raise MlcError(f"this is no tensor: {error}", file=user_line()) from error
    if wanted is None and found.dtype == np.float64 and not own and not _has_arrays(value):
        found = found.astype(np.float32)
    if not found.dtype.isnative:
        found = found.astype(found.dtype.newbyteorder("="))
    try:
        dtype_name(found.dtype)
    except KeyError:
        raise DTypeError(
            f"there are no tensors of {found.dtype}", file=user_line(), remedy=f"DTypes: {', '.join(DTYPES)}."
        ) from None
    return found


def _has_arrays(value: Any) -> bool:
    """Whether what decides the dtype of a nested sequence is not Python numbers alone."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list | tuple):
            waiting += item
        elif not isinstance(item, int | float) or isinstance(item, np.generic):
            return True
    return False


def reduced(function: GraphFunction, x: Any, axis: Any, keepdims: bool, dtype: Any = None) -> Tensor:
    """A reduction over axes."""
    if dtype is not None:
        x = bind(elementwise.astype, (x,), (("dtype", dtype_text(dtype)),))
        return bind(function, (x,), (("axis", axis_from(axis)), ("keepdims", keepdims), ("dtype", dtype_text(dtype))))
    return bind(function, (x,), (("axis", axis_from(axis)), ("keepdims", keepdims)))


def raised(x: Any, y: Any) -> Tensor:
    """x ** y; an exponent that is a Python number is a parameter, so that squares are products."""
    if isinstance(y, int | float) and not isinstance(y, bool) and isinstance(x, Tensor):
        return bind(elementwise.power_of, (x,), (("exponent", y), ("whole", isinstance(y, int))))  # 2 == 2.0
    return bind(elementwise.power, (x, y))


def clipped(x: Any, low: Any, high: Any) -> Tensor:
    bounds = [b for b in (low, high) if b is not None]
    return bind(elementwise.clip, (x, *bounds), (("low", low is not None), ("high", high is not None)))


def type_text(x: Tensor) -> str:
    """As error messages show a tensor: f32[2, 3]."""
    return dtype_name(x.dtype) + shape_text(x.shape)


def _arrays_in(index: Any) -> Any:
    """The index with arrays in place of tensors; None where one is symbolic."""
    if isinstance(index, tuple):
        found = [_arrays_in(part) for part in index]
        return None if any(f is None and p is not None for f, p in zip(found, index, strict=True)) else tuple(found)
    if isinstance(index, Tensor):
        return None if index.trace is not None else index.data
    parts = (index.start, index.stop) if isinstance(index, slice) else (index,)
    return None if any(isinstance(part, Dim) for part in parts) else index


def _normal(index: Any, x: Tensor) -> tuple[Index, list[Any]]:
    try:
        return normal_index(index, x.ndim, lambda part: isinstance(part, Tensor) and part.trace is not None)
    except MlcError as error:
        error.file = user_line()
        raise
