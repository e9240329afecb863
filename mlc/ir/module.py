"""A module: functions in the graph dialect (or what they were lowered to), its symbols with bounds, its checks, its weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import (
    ArrayAttr,
    DictionaryAttr,
    IntegerAttr,
    MemRefType,
    ModuleOp,
    StringAttr,
    TensorType,
    i64,
)
from xdsl.dialects.func import FuncOp
from xdsl.ir import Operation, SSAValue
from xdsl.utils.exceptions import VerifyException

from mlc.errors import InvalidModel, MlcError
from mlc.ir import dims, outsiders
from mlc.ir.alias import ALIAS, FRONT, aliases_of, names_of, verify_aliases
from mlc.ir.dims import Extent
from mlc.ir.graph.base import Check
from mlc.ir.graph.constants import DimensionOp, WeightOp
from mlc.ir.graph.counted import PrefixOp
from mlc.ir.indexing import IndexRange
from mlc.ir.kernel.fit import verify_function
from mlc.ir.kernel.program import CountOp
from mlc.ir.reading import Reader
from mlc.ir.scope import verify_scope
from mlc.ir.size_faults import verify_sizes
from mlc.ir.text import text_of, wrapped
from mlc.ir.types import DimsAttr, Shape, dtype_of, extent, shape_of, shape_text
from mlc.ir.value_names import ValueNames
from mlc.ir.weights import WeightStore

Range = tuple[int, int | None]
OpClass = TypeVar("OpClass", bound=Operation)


@dataclass(frozen=True)
class OutputForm:
    """An output of the model that a module was made of: the names of the module's outputs that it consists of."""

    name: str
    kind: Literal["tensor", "sequence", "nothing"]
    tensors: tuple[str, ...]


@dataclass(frozen=True)
class NodeOrigin:
    """Where a node of the user's model comes from, by what its exporter wrote: the modules it is in, outermost first, and file:line of Python."""

    path: tuple[str, ...] = ()
    line: str = ""


class Module:
    """`print(module)` is parseable IR; `Module.parse` reads it back. The bytes of weights stay in `weights`."""

    _main: FuncOp | None = None  # as it was last found
    _read: tuple[tuple[Any, ...], tuple[list[str], list[tuple[Shape, str]]]] | None = (
        None  # as the inputs were last read
    )

    def __init__(
        self,
        op: ModuleOp,
        weights: WeightStore | None = None,
        symbols: Mapping[str, Range] | None = None,
        checks: list[Check] | None = None,
    ):
        self.op = op
        self.weights = WeightStore() if weights is None else weights
        self.symbols: dict[str, Range] = dict(symbols or {})
        self.checks: list[Check] = list(checks or [])
        self.indices: tuple[IndexRange, ...] = ()  # what a call tests of its inputs, where that has been found
        self.source: str | None = None  # the file it came from
        self.forms: tuple[OutputForm, ...] | None = None  # where an output of the model is no tensor
        self.nodes: dict[str, NodeOrigin] = {}  # by name, as far as the model says
        self.inlined: tuple[str, ...] = ()  # small weights of the model that are constants here

    @property
    def name(self) -> str:
        return self.op.sym_name.data if self.op.sym_name else "main"

    @property
    def main(self) -> FuncOp:
        """The function that a user calls."""
        known = self._main  # finding it takes longer than most ops of a small graph
        if known is not None and known.parent_op() is self.op and known.sym_name.data == "main":
            return known
        for op in self.op.ops:
            if isinstance(op, FuncOp) and op.sym_name.data == "main":
                self._main = op
                return op
        others = ", ".join(f"@{op.sym_name.data}" for op in self.op.ops if isinstance(op, FuncOp))
        raise InvalidModel(
            "the module has no function @main",
            remedy=f"It has {others}: the function that callers call is named @main." if others else None,
        )

    @property
    def is_program(self) -> bool:
        """Whether @main is a planned function on memrefs (mlc/ir/kernel/program.py), not a graph."""
        return any(isinstance(arg.type, MemRefType) for arg in self.main.args)

    @property
    def input_names(self) -> list[str]:
        if self.is_program:
            return [name for name, _, _ in self._arguments("input")]
        return list(self._inputs()[0])

    @property
    def output_names(self) -> list[str]:
        if self.is_program:
            return [name for name, _, _ in self._arguments("output")]
        return names_of(self.main.res_attrs, len(self.main.function_type.outputs.data), "output")

    @property
    def input_types(self) -> list[tuple[Shape, str]]:
        """(shape, dtype) of each input, in order."""
        if self.is_program:
            return [(shape, dtype) for _, shape, dtype in self._arguments("input")]
        return list(self._inputs()[1])

    def _inputs(self) -> tuple[list[str], list[tuple[Shape, str]]]:
        """Names and types of the inputs of a graph, kept as long as attributes and types are the same objects: reading them takes as long as
        running several small ops."""
        main = self.main
        args = main.body.block.args
        seen = (main.properties.get("arg_attrs"), *[arg.type for arg in args])
        known = self._read
        if known is None or len(known[0]) != len(seen) or any(a is not b for a, b in zip(known[0], seen, strict=True)):
            names = names_of(main.arg_attrs, len(args), "input")
            known = self._read = seen, (names, [(shape_of(arg), dtype_of(arg)) for arg in args])
        return known[1]

    @property
    def output_types(self) -> list[tuple[Shape, str]]:
        """(shape, dtype) of each output, in order."""
        if self.is_program:
            return [(shape, dtype) for _, shape, dtype in self._arguments("output")]
        results = self.main.get_return_op()
        return [(shape_of(value), dtype_of(value)) for value in results.operands] if results is not None else []

    @property
    def aliases(self) -> dict[int, int]:
        """Number of an output -> number of the input in whose memory it lives."""
        return aliases_of(self.main)

    @property
    def counted(self) -> dict[str, Extent]:
        """The symbols that a run counts (graph.prefix, kernel.count), each with what it is at most, as an expression of the others."""
        return counted_sizes(self.main)

    def _arguments(self, role: str) -> list[tuple[str, Shape, str]]:
        """Name, shape and dtype of the arguments of a program that have this role."""
        found = []
        for row in self.main.arg_attrs.data if self.main.arg_attrs else ():
            texts = {key: attr.data for key, attr in row.data.items() if isinstance(attr, StringAttr)}
            extents = row.data.get("kernel.dims")
            if texts.get("kernel.role") == role and isinstance(extents, DimsAttr):
                found.append((texts["kernel.name"], extents.extents(), texts["kernel.dtype"]))
        return found

    def __str__(self) -> str:
        return self.text()

    def text(self, locations: bool = False, names: ValueNames | None = None) -> str:
        """The IR as text; with `locations` each op says where it came from. With `names` it is for somebody who reads it, and text after text:
        values keep their names, and lines fit a screen."""
        self._write_attributes(locations)
        if names is None:
            return text_of(self.op, locations=locations)
        names.begin(self.op)
        return wrapped(text_of(self.op, locations=locations, namer=names.of))

    @classmethod
    def parse(cls, text: str, weights: WeightStore | None = None, file: str = "<text>") -> Module:
        """Read IR text: a module, or functions alone. Raises InvalidText with line and column where it does not parse or verify,
        InvalidModel where it would reach outside of its tensors at sizes that it allows."""
        if not isinstance(text, str):
            raise InvalidModel(f"IR text is a string, not of type {type(text).__name__}")
        reader = Reader(text, file)
        op = reader.module(context())
        reader.make_scalar(op)
        with reader.locating(op):
            symbols, checks, indices = _read_attributes(op)
            nodes = _read_nodes(op)
        reader.verify(op)
        for function in op.ops:
            if isinstance(function, FuncOp):
                _verify_schedule(reader, function)
        module = cls(op, weights, symbols, checks)
        module.indices = indices
        module.nodes = nodes
        with reader.locating(op):
            module.verify()
        if any(isinstance(f, FuncOp) and f.sym_name.data == "main" and f.body.blocks for f in op.ops):
            verify_sizes(module)
        return module

    def run(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """The outputs by the reference interpreter: slow, and right by definition. For graphs; see run_program for programs."""
        from mlc.ir.interpreter import run

        return run(self, inputs)

    def verify(self) -> None:
        """Raises InvalidModel naming the op that breaks a rule."""
        try:
            self.op.verify()
            verify_scope(self.op)
            for op in self.op.ops:
                if isinstance(op, FuncOp) and op.body.blocks:
                    _verify_counts(op)
                    _verify_aliases(op)
                    verify_function(op)
            self._verify_weights()
        except VerifyException as error:
            raise InvalidModel(f"the module does not verify: {error}") from error

    def _verify_weights(self) -> None:
        """A weight has the type that the store holds it with."""
        for op in self.op.walk():
            if isinstance(op, WeightOp) and op.weight_key in self.weights:
                shape, dtype = self.weights.type_of(op.weight_key)
                if (shape_of(op.result), dtype_of(op.result)) != (shape, dtype):
                    raise VerifyException(
                        f"{op.name}: '{op.weight_key}' is {dtype}{shape_text(shape)} in the store,"
                        f" and {dtype_of(op.result)}{shape_text(shape_of(op.result))} here"
                    )

    def clone(self) -> Module:
        """A copy of the IR. It shares the weights; those that passes add to it are its own."""
        copy = Module(self.op.clone(), self.weights.branch(), self.symbols, self.checks)
        copy.source, copy.indices, copy.forms, copy.nodes = self.source, self.indices, self.forms, self.nodes
        copy.inlined = self.inlined
        return copy

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles hold the text and the weights."""
        return _restored, (self.text(locations=True), self.weights, self.source, self.forms)

    def __repr__(self) -> str:
        """The signature; `str(module)` is the IR."""
        if not any(isinstance(op, FuncOp) and op.sym_name.data == "main" for op in self.op.ops):
            return f"<mlc.Module {self.name}: no function @main>"
        rows = [("in ", *row) for row in zip(self.input_names, self.input_types, strict=True)]
        rows += [("out", *row) for row in zip(self.output_names, self.output_types, strict=True)]
        lines = [f"  {role} {name}: {dtype}{shape_text(shape)}" for role, name, (shape, dtype) in rows[:6]]
        lines += [f"  and {len(rows) - 6} more"] if len(rows) > 6 else []
        ops = sum(1 for _ in self.main.walk()) - 1
        return "\n".join([f"<mlc.Module {self.name}", *lines, f"  {ops} ops, {len(self.weights)} weights>"])

    def __copy__(self) -> Module:
        """Another module around the same IR, which may be given other checks, indices or IR."""
        made = Module.__new__(Module)
        made.__dict__.update(self.__dict__)
        return made

    def __deepcopy__(self, memo: object) -> Module:
        return self.clone()

    def _write_attributes(self, locations: bool = False) -> None:
        attributes = self.op.attributes
        attributes.pop("graph.nodes", None)
        if locations and self.nodes:
            attributes["graph.nodes"] = DictionaryAttr(
                {
                    name: ArrayAttr([StringAttr(origin.line), *map(StringAttr, origin.path)])
                    for name, origin in self.nodes.items()
                }
            )
        attributes.pop("graph.symbols", None)
        attributes.pop("graph.checks", None)
        attributes.pop("graph.indices", None)
        if self.symbols:
            attributes["graph.symbols"] = DictionaryAttr(
                {name: _range(bounds) for name, bounds in self.symbols.items()}
            )
        if self.checks:
            rows = [ArrayAttr([StringAttr(str(v)) for v in (c.lhs, c.rhs, c.message)]) for c in self.checks]
            attributes["graph.checks"] = ArrayAttr(rows)
        if self.indices:
            rows = [ArrayAttr([StringAttr(text) for text in each.to_text()]) for each in self.indices]
            attributes["graph.indices"] = ArrayAttr(rows)


def _restored(text: str, weights: WeightStore, source: str | None, forms: tuple[OutputForm, ...] | None) -> Module:
    module = Module.parse(text, weights)
    module.source, module.forms = source, forms
    return module


def _verify_schedule(reader: Reader, function: FuncOp) -> None:
    """The schedule of a kernel, which may be written by hand; its errors point at it."""
    try:
        verify_function(function)
    except MlcError as wrong:
        start, end = reader.place_of(function)
        text = str(function.attributes["kernel.schedule"])
        if (found := reader.text.find(text, start)) >= 0:
            start, end = found, found + len(text)
        raise reader.error(wrong.message, start, end, wrong.remedy) from wrong


def counted_sizes(main: FuncOp) -> dict[str, Extent]:
    """As Module.counted."""
    found: dict[str, Extent] = {}
    for op in main.body.block.ops:
        if isinstance(op, PrefixOp | CountOp):
            found[op.symbol.data] = dims.ceiling(op.most, found)
    return found


def _verify_counts(function: FuncOp) -> None:
    """A symbol is counted once, before anything has it in its type."""
    ops = list(function.body.block.ops)
    if not any(isinstance(op, PrefixOp) for op in ops):
        return
    used = _symbols(function.args)
    for op in ops:
        if isinstance(op, PrefixOp) and op.symbol.data in used:
            raise VerifyException(f"{op.name}: the size {op.symbol.data} is used before it is counted")
        used |= _symbols(op.results)
        if isinstance(op, DimensionOp) and isinstance(e := extent(op.extent.data), dims.Dim):
            used |= e.symbols()


def _verify_aliases(function: FuncOp) -> None:
    """Only @main is called with memory of a caller."""
    if function.sym_name.data == "main":
        verify_aliases(function)
    elif any({ALIAS, FRONT} & row.data.keys() for row in (function.res_attrs.data if function.res_attrs else ())):
        raise VerifyException(
            f"a result of @{function.sym_name.data} has {ALIAS}: only those of @main live in arguments"
        )


def _symbols(values: Iterable[SSAValue]) -> set[str]:
    shapes = [shape_of(v) for v in values if isinstance(v.type, TensorType)]
    return {s for shape in shapes for e in shape if isinstance(e, dims.Dim) for s in e.symbols()}


def _read_attributes(op: ModuleOp) -> tuple[dict[str, Range], list[Check], tuple[IndexRange, ...]]:
    """What _write_attributes wrote."""
    symbols: dict[str, Range] = {}
    table = op.attributes.get("graph.symbols")
    for name, bounds in table.data.items() if isinstance(table, DictionaryAttr) else ():
        low, *high = (bound.value.data for bound in bounds.data)  # type: ignore[attr-defined]
        symbols[name] = (low, high[0] if high else None)
    checks = [
        Check(extent(c.data[0].data), extent(c.data[1].data), c.data[2].data)
        for c in getattr(op.attributes.get("graph.checks"), "data", ())
    ]
    indices = tuple(
        IndexRange.from_text([text.data for text in row.data])
        for row in getattr(op.attributes.get("graph.indices"), "data", ())
    )
    return symbols, checks, indices


def _read_nodes(op: ModuleOp) -> dict[str, NodeOrigin]:
    table = op.attributes.get("graph.nodes")
    found = {}
    for name, row in table.data.items() if isinstance(table, DictionaryAttr) else ():
        line, *path = (text.data for text in row.data)  # type: ignore[attr-defined]
        found[name] = NodeOrigin(tuple(path), line)
    return found


def _range(bounds: Range) -> ArrayAttr[Any]:
    return ArrayAttr([IntegerAttr(bound, i64) for bound in bounds if bound is not None])


def context() -> Context:
    """All dialects that modules are written in, at any level."""
    from xdsl.dialects import builtin, func, gpu, linalg, ml_program, scf

    from mlc.ir.graph import GRAPH
    from mlc.ir.kernel.prefetch import MEMREF
    from mlc.ir.kernel.scalar_ops import MATH
    from mlc.ir.kernel.vector_ops import LANEWISE, VECTOR

    found = Context()
    for dialect in (
        builtin.Builtin,
        func.Func,
        LANEWISE,
        MATH,
        MEMREF,
        scf.Scf,
        linalg.Linalg,
        VECTOR,
        gpu.GPU,
        ml_program.MLProgram,
        GRAPH,
    ):
        found.load_dialect(dialect)
    from mlc.ir.kernel.program import KernelDialect

    found.load_dialect(KernelDialect)
    for kind in _registered.values():
        found.load_op(kind)
    return found


_registered: dict[str, type[Operation]] = {}


def register_op(kind: type[OpClass]) -> type[OpClass]:
    """Let the text of an op that is defined outside of mlc be parsed; also a decorator. Raises MlcError for a name that is taken."""
    known = context().get_optional_op(kind.name)
    if known is not None and known is not kind:
        raise MlcError(
            f"the op {kind.name} is there already: {known.__module__}.{known.__qualname__}",
            remedy="Give yours a name with a prefix of its own, as in my.op.",
        )
    _registered[kind.name] = kind
    outsiders.note(f"the op {kind.name}", kind)
    return kind


__all__ = ["Check", "DimsAttr", "Module", "context", "register_op"]
