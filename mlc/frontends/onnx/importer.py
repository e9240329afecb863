"""Build a module of the graph dialect from an ONNX graph, node by node.

Each node goes the first road that is open: partial evaluation on known entries (no op at all), a handler of exactly its since-version,
the body of a function (of the model, or of the standard). What is unsupported is collected over the whole graph and reported once; nodes that
depend on it are left out. Ops whose results nothing uses are erased at the end, so that operands that only decided a shape leave no trace.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import onnx
from onnx import FunctionProto, GraphProto, NodeProto, SparseTensorProto, TensorProto
from onnx.defs import SchemaError
from xdsl.ir import SSAValue

from mlc.errors import InternalError, InvalidModel, MlcError, ShapeError, UnsupportedKind, UnsupportedOp
from mlc.frontends.onnx import functions, reader, shapes, table
from mlc.frontends.onnx.checks import (
    captured,
    check_against_schema,
    check_dtypes,
    check_names,
    in_order,
    names_read,
    plain_inputs,
)
from mlc.frontends.onnx.cut import advice
from mlc.frontends.onnx.folding import Folded, constant_value, erase_unused
from mlc.frontends.onnx.functions import Functions
from mlc.frontends.onnx.inputs import Signature
from mlc.frontends.onnx.node import NeedsSize, NeedsValue, Node, Question, canonical_domain, node_name
from mlc.frontends.onnx.origins import origin_of
from mlc.frontends.onnx.reader import Model
from mlc.frontends.onnx.shapes import Entries
from mlc.frontends.onnx.structure import part
from mlc.frontends.onnx.table import Absent, Content, Items, flattened
from mlc.frontends.onnx.tensor import Tensor
from mlc.frontends.onnx.values import Record
from mlc.ir import builder as g
from mlc.ir import outsiders, work
from mlc.ir.dims import Bounds, Dim, Extent
from mlc.ir.dtypes import TABLE, packed
from mlc.ir.graph.constants import ConstantOp
from mlc.ir.module import Module, NodeOrigin, OutputForm
from mlc.ir.types import dtype_name, is_float, numpy_dtype


@dataclass(frozen=True)
class Limits:
    """Bounds on what a model may make the importer do."""

    nodes: int = 150_000  # nodes built, functions and unrolled loops written out: some 15 seconds of importing
    depth: int = 64  # functions and subgraphs within each other


@dataclass
class _Refusal:
    op: str
    node: str
    proto: NodeProto
    error: UnsupportedOp


@dataclass
class Importer:
    """The state of one import: the model, what is refused so far, how much has been built."""

    model: Model
    signature: Signature
    values: Mapping[str, np.ndarray] = field(default_factory=dict)
    limits: Limits = Limits()
    answers: Mapping[Extent, bool] | None = None  # to questions about sizes; None where nobody can be asked
    trainable: bool = False  # whether small initializers of floats are weights too, and not constants in the text

    def __post_init__(self) -> None:
        proto = self.model.proto
        self.file = self.model.file
        self.functions = Functions.of(proto.functions, self.file)
        self.opsets = functions.opsets(proto.opset_import, self.file)
        if proto.ir_version >= 3 and not self.opsets:
            raise InvalidModel("the model does not say which opset it uses", file=self.file)
        newest = onnx.defs.onnx_opset_version()
        if self.opsets.get("", 0) > newest:
            raise UnsupportedOp(
                f"opset {self.opsets['']} is newer than {newest}, the newest that onnx {onnx.__version__} knows",
                file=self.file,
                remedy="Upgrade the onnx package, or export with an older opset.",
            )
        self.refusals: list[_Refusal] = []
        self.checks: list[g.Check] = []
        self.folded = Folded()  # results of ops on constants
        self.known: dict[
            SSAValue, Record
        ] = {}  # values whose contents are known, to know them again as a node's result
        self.built = 0
        self.nodes: dict[str, NodeOrigin] = {}
        self.inlined: list[str] = []  # small initializers of floats that became constants in the text
        self.open: list[Extent] = []  # whose sign would have changed what is built, and is not known

    def run(self) -> Module:
        """Raises UnsupportedOp naming everything that is unsupported, or the first other error."""
        graph = self.model.proto.graph
        self.builder = g.module_builder("main")
        self.checks = self.builder.checks
        check_names(graph, self.file)
        self._check_size(graph)
        declared = {i.name: (i.name, i.shape, i.dtype) for i in self.signature.inputs}
        given = {name: declared.pop(name) for name in self.values if name in declared}
        with self.builder.function(inputs=list(declared.values())) as arguments:
            scope = Scope(self, self.opsets, None)
            for (name, shape, dtype), argument in zip(declared.values(), arguments, strict=True):
                scope.bind(name, Record(name, dtype, tuple(shape), "graph input", value=argument, made_of=(name,)))
            for name, shape, dtype in given.values():  # no input of the module: a call could not give another value
                record = Record(name, dtype, tuple(shape), "graph input", made_of=(name,))
                scope.bind(name, self._given(record, self.values[name]))
            scope.initializers(graph)
            scope.nodes(in_order(graph.node, self.file))
            results = [(output.name, scope.find(output.name)) for output in graph.output]
            self._refuse(
                graph, [name for name, record in scope.records.items() if record is not None and record.broken]
            )
            for output, (_, found) in zip(graph.output, results, strict=True):
                if found is not None and output.type.HasField("tensor_type"):
                    scope.value(found)  # raises for what is no tensor
            forms = [_output_form(name, record) for name, record in results if record is not None]
            values = [v for _, record in results if record is not None for v in flattened([scope.content(record)])]
            self.builder.outputs(list(zip([name for form in forms for name in form.tensors], values, strict=True)))
        module = self.builder.finish()
        module.nodes, module.inlined = self.nodes, tuple(self.inlined)
        erase_unused(module.main.body.block)
        if any(form.kind != "tensor" for form in forms):
            module.forms = tuple(forms)
        return module

    def _given(self, record: Record, array: np.ndarray) -> Record:
        array = np.asarray(array)
        sizes = zip(record.shape, array.shape, strict=False)
        fits = len(array.shape) == len(record.shape) and all(e == n for e, n in sizes if isinstance(e, int))
        if array.dtype != numpy_dtype(record.dtype) or not fits:
            raise ShapeError(
                f"input '{record.name}' is {record.type_text()}, the value given for it has dtype {array.dtype}, "
                f"shape {list(array.shape)}",
                file=self.file,
            )
        return replace(
            record, shape=array.shape, known=shapes.entries_of(array, record.dtype), constant=True, contents=array
        )

    def _check_size(self, graph: GraphProto) -> None:
        """Raises InvalidModel for a model of too many nodes, before any is built."""
        count = self.functions.written_out(graph.node)
        if count > self.limits.nodes:
            most = f"more than {count}" if count == functions.ENDLESS else str(count)
            raise InvalidModel(
                f"the model has {most} nodes with its functions written out in place of their calls; the limit is {self.limits.nodes}",
                file=self.file,
            )

    def count(self, node: Node) -> None:
        self.built += 1
        if self.built > self.limits.nodes:
            raise InvalidModel(
                f"the model writes out to more than {self.limits.nodes} nodes", node=node.name, file=self.file
            )

    def refuse(self, node: Node, error: UnsupportedOp) -> None:
        label = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        self.refusals.append(_Refusal(label, node.name, node.proto, error))

    def _refuse(self, graph: GraphProto, broken: Sequence[str]) -> None:
        """One error for all refusals, of which the values `broken` cannot be built."""
        if not self.refusals:
            return
        groups: dict[tuple[str, str], list[_Refusal]] = {}
        for refusal in self.refusals:
            reason = refusal.error.message.split("': ", 1)[-1]
            groups.setdefault((refusal.op, reason), []).append(refusal)
        asked = [r.error for r in self.refusals if isinstance(r.error, NeedsSize)]
        for question in asked:
            question.signature = {i.name: i.shape for i in self.signature.inputs}
        if asked and all(isinstance(r.error, NeedsSize | NeedsValue) for r in self.refusals):
            raise asked[0]  # its answer may make the others needless
        kinds = [
            UnsupportedKind(op, tuple(r.node for r in refusals), reason) for (op, reason), refusals in groups.items()
        ]
        if len(self.refusals) == 1:
            error = self.refusals[0].error
            error.kinds = tuple(kinds)
            if not isinstance(error, NeedsValue | NeedsSize):
                error.remedy = "\n".join(filter(None, (error.remedy, advice(graph, broken)))) or None
            raise error
        names = Counter(n.op_type for n in functions.all_nodes(graph.node))
        operators = len({kind.op for kind in kinds})
        message = f"{operators} operator kinds cannot be compiled ({len(self.refusals):,} nodes)"
        if all(r.proto.op_type in names for r in self.refusals):
            message = (
                f"{operators} of {len(names)} operator kinds cannot be compiled "
                f"({len(self.refusals):,} of {sum(names.values()):,} nodes)"
            )
        needs = [r.error for r in self.refusals]
        if all(isinstance(error, NeedsValue) for error in needs):
            inputs = dict.fromkeys(name for error in needs if isinstance(error, NeedsValue) for name in error.inputs)
            raise NeedsValue(message, inputs=tuple(inputs), kinds=kinds, file=self.file, remedy=needs[0].remedy)
        raise UnsupportedOp(message, kinds=kinds, file=self.file, remedy=advice(graph, broken))


class Scope:
    """Names of a graph, a subgraph or a function body, and the nodes built in it. Implements `node.Scope`."""

    def __init__(self, importer: Importer, opsets: Mapping[str, int], outer: Scope | None, prefix: str = ""):
        self.importer = importer
        self.opsets = opsets
        self.outer = outer  # subgraphs see the names around them, functions do not
        self.prefix = prefix  # of node names, inside of functions and subgraphs
        self.depth = 0
        self.records: dict[str, Record | None] = {}
        self.makers: dict[str, NodeProto] = {}

    # Names

    def bind(self, name: str, record: Record | None) -> None:
        self.records[name] = record

    def find(self, name: str) -> Record | None:
        """The value of a name; None for an omitted one (an empty name, or a function's input that the call leaves out)."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.records:
                return scope.records[name]
            scope = scope.outer
        if name == "":
            return None
        raise InvalidModel(f"value '{name}' is used and nothing makes it", file=self.importer.file)

    def record(self, name: str) -> Record:
        record = self.find(name)
        if record is None:
            raise InvalidModel(f"value '{name}' is used and was left out by the caller", file=self.importer.file)
        return record

    def initializers(self, graph: GraphProto) -> None:
        """Bind the initializers, but for those that an input of the same name overrides."""
        tensors = [(proto.name, partial(reader.tensor, proto)) for proto in graph.initializer]
        tensors += [(sparse.values.name, partial(reader.dense, sparse)) for sparse in graph.sparse_initializer]
        for name, read in tensors:
            if name not in self.records:
                self.bind(name, Record.of_tensor(read(self.importer.model), "initializer"))

    # What nodes ask (node.Scope)

    def constant(self, name: str) -> np.ndarray | None:
        return self._contents(self.record(name))

    def entries(self, name: str) -> np.ndarray | None:
        known = self._known(self.record(name))
        return None if known is None else known.entries

    def _contents(self, record: Record) -> np.ndarray | None:
        array = record.array()
        if array is None and record.constant and record.value is not None:
            array = constant_value(record.value, self.importer.builder.weights, self.importer.folded)
            record.contents = array
        return array

    def _known(self, record: Record) -> Entries | None:
        if record.known is None and record.may_be_known:
            array = self._contents(record)
            if array is not None:
                record.known = shapes.entries_of(array, record.dtype)
        return record.known

    def sources(self, name: str) -> tuple[str, ...]:
        return self.record(name).sources

    def is_brief(self, name: str) -> bool:
        found = next((i for i in self.importer.signature.inputs if i.name == name), None)
        if found is None or is_float(found.dtype) or len(found.shape) > 1:
            return False
        return all(isinstance(extent, int) and extent <= g.IN_TEXT for extent in found.shape)

    def maker(self, name: str) -> NodeProto | None:
        scope: Scope | None = self
        while scope is not None and name not in scope.records:
            scope = scope.outer
        return scope.makers.get(name) if scope is not None else None

    def inline(self, graph: GraphProto, operands: Sequence[Content]) -> list[Content]:
        return self.inner(self.opsets, self, graph.name)._body(graph, operands)

    def _body(self, graph: GraphProto, operands: Sequence[Content]) -> list[Content]:
        """The outputs of a subgraph of which this is the scope."""
        if len(operands) != len(graph.input):
            raise InvalidModel(
                f"subgraph '{graph.name}' takes {len(graph.input)} inputs, gets {len(operands)}",
                file=self.importer.file,
            )
        for declared, value in zip(graph.input, operands, strict=True):
            self.bind(declared.name, self._input(declared.name, value))
        self.initializers(graph)
        before = len(self.importer.refusals)
        self.nodes(in_order(graph.node, self.importer.file))
        if len(self.importer.refusals) > before:
            raise self.importer.refusals.pop().error
        return [self.content(self.record(output.name)) for output in graph.output]

    def _input(self, name: str, content: Content) -> Record:
        """An input of a subgraph, of which is known what was known of the value that goes in."""
        origin = "subgraph input"
        if isinstance(content, Items | Absent):
            return Record(name, "f32", (), origin, items=content)
        if content in self.importer.known:
            return replace(self.importer.known[content], name=name)
        return Record.of_value(name, content, origin, isinstance(content.owner, ConstantOp), ())

    def declared_rank(self, name: str) -> int | None:
        graph = self.importer.model.proto.graph
        for declared in [*graph.output, *graph.value_info] if not self.depth else ():
            if declared.name == name and declared.type.tensor_type.HasField("shape"):
                return len(declared.type.tensor_type.shape.dim)
        return None

    def answer(self, question: Question) -> bool | None:
        found = (self.importer.answers or {}).get(question.truth)
        if found is None:
            self.leave_open(question.truth)
        return found

    def leave_open(self, sign: Extent) -> None:
        self.importer.open.append(sign)

    @property
    def asks(self) -> bool:
        return self.importer.answers is not None

    def tensor(self, proto: TensorProto) -> Tensor:
        return reader.tensor(proto, self.importer.model)

    def dense(self, proto: SparseTensorProto) -> Tensor:
        return reader.dense(proto, self.importer.model)

    def captured(self, graph: GraphProto) -> dict[str, Content]:
        found = {name: record for name in captured(graph) if (record := self.find(name)) is not None}
        for record in found.values():
            if record.items is None:
                self._known(record)
        return {name: self.content(record) for name, record in found.items()}

    @contextmanager
    def trial(self, *fallible: type[MlcError]) -> Iterator[None]:
        before = len(self.importer.refusals)
        try:
            yield
        except fallible:
            del self.importer.refusals[before:]
            raise

    def enclosed(
        self, graph: GraphProto, operands: Sequence[Content], captured: Mapping[str, Content]
    ) -> list[Content]:
        scope = self.inner(self.opsets, None, graph.name)
        for name, content in captured.items():
            if isinstance(content, Items | Absent):
                scope.bind(name, replace(self.record(name), items=content))
            else:
                scope.bind(name, replace(self.record(name), value=content, make=None))
        return scope._body(graph, operands)

    def inner(self, opsets: Mapping[str, int], outer: Scope | None, name: str) -> Scope:
        scope = Scope(self.importer, opsets, outer, f"{self.prefix}{name}/" if name else self.prefix)
        scope.depth = self.depth + 1
        if scope.depth > self.importer.limits.depth:
            raise InvalidModel(
                f"functions and subgraphs are nested more than {self.importer.limits.depth} deep",
                file=self.importer.file,
            )
        return scope

    # Values as ops

    def content(self, record: Record) -> Content:
        return record.items if record.items is not None else self.value(record)

    def value(self, record: Record) -> SSAValue:
        """The value as data: built at the current position where it exists only as entries or as a tensor of the file."""
        if record.items is not None:
            kind = "a sequence" if isinstance(record.items, Items) else "an empty optional value"
            raise UnsupportedOp(f"'{record.name}' is {kind}, where a tensor is expected", file=self.importer.file)
        if record.value is None:
            record.value = self._materialise(record)
            self.importer.known[record.value] = record
        return record.value

    def _weight(self, tensor: Tensor) -> SSAValue:
        """A weight that is loaded when its bytes are wanted; elements of less than a byte stay packed."""
        weights, row = self.importer.builder.weights, TABLE[tensor.dtype]
        if not row.packed:
            key = weights.add_lazy(tensor.name, tensor.shape, tensor.dtype, tensor.load, place=tensor.place)
            return g.weight(key)
        count = -(-tensor.size * row.bits // 8)
        key = weights.add_lazy(tensor.name, (count,), "u8", lambda: packed(tensor.load(), row))
        return g.unpack(g.weight(key), tensor.shape, tensor.dtype)

    def _materialise(self, record: Record) -> SSAValue:
        if record.tensor is not None:
            if record.tensor.size <= g.IN_TEXT and not (self.importer.trainable and _may_be_trained(record)):
                if _may_be_trained(record):
                    self.importer.inlined.append(record.name)
                return g.constant(record.tensor.load())
            return self._weight(record.tensor)
        array = record.array()
        if array is not None:
            return g.constant(array)
        assert record.known is not None, record
        entries = list(record.known.entries.flat)
        if all(isinstance(e, int | Dim) for e in entries):
            flat = g.extents(entries)
            return g.cast(g.reshape(flat, record.known.entries.shape), record.dtype)
        assert record.make is not None, record
        return record.make()

    # Nodes

    def nodes(self, protos: Iterable[tuple[int, NodeProto]]) -> None:
        for index, proto in protos:
            if not self.depth:
                work.at(node_name(proto), index, len(self.importer.model.proto.graph.node))
            self.node(proto, index)

    def node(self, proto: NodeProto, index: int) -> None:
        """Build one node and bind its outputs."""
        operands = [self.find(name) for name in proto.input]
        self.makers.update((name, proto) for name in proto.output if name)
        node = self._node(proto, index, operands)
        self.importer.count(node)
        read = operands
        if _has_subgraphs(proto):
            read = [self.find(name) for name in names_read(proto)]
        if any(r is not None and r.broken for r in read):
            if not self._is_known(node, proto):
                self.importer.refuse(node, node.unsupported(_why_not(node)))
            self._break(node)
            return
        try:
            if (origin := origin_of(proto)) is not None:
                self.importer.nodes[node.name] = origin
            with g.location(node.name, file=self.importer.file, index=index):
                self._build(node, proto, operands)
        except UnsupportedOp as error:
            if error.node is None:
                error.message, error.node, error.file = f"{node.title}: {error.message}", node.index, node.file
            self.importer.refuse(node, error)
            self._break(node)
        except MlcError as error:
            raise self._placed(error, node, operands) from error
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            message = f"{node.title} (version {node.version}): {type(error).__name__}: {error}"
            handler = table.find(node.domain, node.op_type, node.version)
            if handler is not None and not outsiders.is_own(handler):
                raise MlcError(
                    message, remedy=f"Its handler is {handler.__module__}.{handler.__qualname__}, not mlc's."
                ) from error
            raise InternalError(message) from error

    def _node(self, proto: NodeProto, index: int, operands: Sequence[Record | None]) -> Node:
        domain = canonical_domain(proto.domain)
        opset = self.opsets.get(domain, table.IMPLIED_OPSETS.get(domain))
        schema = None
        if opset is not None:
            try:
                schema = onnx.defs.get_schema(proto.op_type, opset, domain)
            except SchemaError:
                schema = None
        node = Node(
            proto,
            version=schema.since_version if schema else table.newest(domain, proto.op_type, opset or 0) or opset or 0,
            opset=opset or 0,
            scope=self,
            schema=schema,
            file=self.importer.file,
            index=index,
        )
        node.name = self.prefix + node.name
        node.inputs = tuple("" if r is None else name for name, r in zip(proto.input, operands, strict=True))
        if opset is None and self.importer.functions.find(proto) is None:
            raise node.invalid(f"the model does not import an opset of domain '{domain or 'ai.onnx'}'")
        return node

    def _build(self, node: Node, proto: NodeProto, operands: Sequence[Record | None]) -> None:
        schema = node.schema
        own = self.importer.functions.find(proto) if schema is None else None
        if own is not None:
            self._call(own, node, proto, operands)
            return
        if schema is not None:
            check_against_schema(node, schema)
            check_dtypes(node, schema, [None if r is None or r.items is not None else r.dtype for r in operands])
        if self.importer.trainable and (weight := _first_values(node, operands)) is not None:
            self.bind(node.outputs[0], weight)
            return
        known = self._evaluate(node, operands)
        if known is not None:
            for name, entries in zip(node.outputs, known, strict=True):
                self._bind_known(name, entries, node, operands)
            return
        handler = table.find(node.domain, node.op_type, node.version)
        if handler is not None:
            self._bind_results(node, self._handle(handler, node, operands), operands)
            return
        body = None
        if schema is not None:
            types = [onnx.TypeProto() if r is None else r.type_proto() for r in operands]
            body = functions.schema_body(schema, proto, types, node.opset)
        if body is None:
            raise node.unsupported(_why_not(node))
        self._call(body, node, proto, operands)

    def _is_known(self, node: Node, proto: NodeProto) -> bool:
        """Whether anything can build this kind of node, whatever its operands are."""
        if self.importer.functions.find(proto) is not None or shapes.has_rule(node):
            return True
        if table.find(node.domain, node.op_type, node.version) is not None:
            return True
        return node.schema is not None and functions.has_schema_body(node.schema, node.opset)

    def _handle(self, handler: table.Handler, node: Node, operands: Sequence[Record | None]) -> table.Result:
        values: list[Content | None] = [None if r is None else self.content(r) for r in operands]
        if any(isinstance(v, Items | Absent) for v in values) and not table.takes_sequences(handler):
            kind = "a sequence" if any(isinstance(v, Items) for v in values) else "an empty optional value"
            raise node.unsupported(f"{kind} as operand is not supported")
        if node.schema is None:
            values = _by_parameters(handler, node, values)
        elif node.schema.max_input < 1 << 16:
            count = plain_inputs(node.schema)
            values = values[:count] + [None] * (
                count - len(values)
            )  # more than `count` are omitted ones, as was checked
        return handler(node, *values)

    def _evaluate(self, node: Node, operands: Sequence[Record | None]) -> list[Entries] | None:
        if not shapes.has_rule(node):
            return None
        if node.op_type in ("Shape", "Size"):
            entries: list[Entries | None] = [None] * len(operands)
        else:
            if not all(r is None or r.may_be_known for r in operands):
                return None
            if any(r is not None and r.known is None and is_float(r.dtype) for r in operands) and not any(
                r is not None and r.known is not None for r in operands
            ):
                return None  # plain numbers in floating point: left to the ops
            entries = [None if r is None else self._known(r) for r in operands]
        extents = [None if r is None else r.shape for r in operands]
        return shapes.evaluate(node, entries, extents, self.bounds)

    @property
    def bounds(self) -> Bounds:
        return self.importer.signature.bounds

    def _bind_known(self, name: str, known: Entries, node: Node, operands: Sequence[Record | None]) -> None:
        def make() -> SSAValue:
            handler = table.find(node.domain, node.op_type, node.version)
            if handler is None:
                raise node.unsupported(_why_not(node))
            result = self._handle(handler, node, operands)
            value = result if isinstance(result, SSAValue) else next(iter(result))
            assert isinstance(value, SSAValue), node.title
            return value

        self.bind(
            name,
            Record(
                name,
                known.dtype,
                tuple(known.entries.shape),
                f"node {node.index}",
                known=known,
                make=make,
                constant=known.is_constant,
                made_of=tuple(operands),
            ),
        )

    def _bind_results(self, node: Node, result: table.Result, operands: Sequence[Record | None]) -> None:
        results = [result] if isinstance(result, SSAValue | np.ndarray) else list(result)
        if len(results) < len([name for name in node.outputs if name]):
            raise node.unsupported(f"output {len(results)} ('{node.outputs[len(results)]}') is not supported")
        read = (
            [*operands, *(self.find(name) for name in names_read(node.proto))]
            if _has_subgraphs(node.proto)
            else operands
        )
        pure = all(r is None or r.constant for r in operands) and not _has_subgraphs(node.proto)
        for name, value in zip(node.outputs, results, strict=False):
            if not name:
                continue
            if value is None:
                raise node.unsupported(f"output '{name}' is not supported")
            origin = f"node {node.index}"
            if isinstance(value, np.ndarray):
                self.bind(name, _literal(name, value, origin, node))
            elif isinstance(value, Items | Absent):
                self.bind(name, Record(name, "f32", (), origin, items=value, made_of=tuple(read)))
            elif value in self.importer.known:
                self.bind(name, replace(self.importer.known[value], name=name))
            else:
                self.bind(name, Record.of_value(name, value, origin, pure, tuple(read)))

    def _call(self, body: FunctionProto, node: Node, proto: NodeProto, operands: Sequence[Record | None]) -> None:
        """Build the body of a function in place of a node."""
        if len(operands) > len(body.input) or len(node.outputs) > len(body.output):
            raise node.invalid(
                f"{len(operands)} inputs and {len(node.outputs)} outputs, the function has "
                f"{len(body.input)} and {len(body.output)}"
            )
        own = functions.opsets(body.opset_import, self.importer.file, f"function '{body.name}'")
        scope = self.inner({**self.opsets, **own}, None, node.proto.name or node.op_type)
        for i, name in enumerate(body.input):
            scope.bind(name, operands[i] if i < len(operands) else None)
        scope.nodes(in_order(functions.instantiate(body, proto, node.schema), self.importer.file))
        for name, inner in zip(node.outputs, body.output, strict=False):
            if name:
                result = scope.record(inner)
                self.bind(name, replace(result, name=name, make=partial(scope.value, result)))

    def _break(self, node: Node) -> None:
        for name in node.outputs:
            if name:
                self.bind(name, Record(name, "f32", (), f"node {node.index}", broken=True))

    def _placed(self, error: MlcError, node: Node, operands: Sequence[Record | None]) -> MlcError:
        """The error with the node's name, place and operands, where it does not have them yet."""
        if error.node is None:
            if not error.message.startswith(node.title):
                error.message = f"{node.title}: {error.message}"
            error.node, error.file = node.index, error.file or self.importer.file
        if not error.shapes and isinstance(error, ShapeError):
            names = [i.name for i in node.schema.inputs] if node.schema else []
            error.shapes = [
                record.note(names[min(i, len(names) - 1)] if names else str(i))
                for i, record in enumerate(operands)
                if record is not None
            ]
        return error


def _by_parameters(handler: table.Handler, node: Node, values: list[Content | None]) -> list[Content | None]:
    """The operands of a node without a schema, None for what is left out at the end. Raises InvalidModel where they do not suit the handler."""
    taken, variadic = table.operands(handler)
    for surplus in values[len(taken) :] if not variadic else ():
        if surplus is not None:
            raise node.invalid(f"{len(values)} inputs, the operator takes at most {len(taken)}")
    values = [*values, *[None] * (len(taken) - len(values))]
    for i, operand in enumerate(taken):
        if operand.required and values[i] is None:
            raise node.invalid(f"input {i} ({operand.name}) is missing")
    return values if variadic else values[: len(taken)]


def _literal(name: str, array: np.ndarray, origin: str, node: Node) -> Record:
    """A constant that a handler returns as an array; it becomes an op when it is used as data."""
    try:
        dtype = dtype_name(array.dtype)
    except KeyError:
        raise node.unsupported(f"element type {array.dtype} is not supported") from None
    return Record.of_tensor(Tensor(name, array.shape, dtype, lambda: array), origin)


def _output_form(name: str, record: Record) -> OutputForm:
    if isinstance(record.items, Items):
        return OutputForm(name, "sequence", tuple(part(name, number) for number in range(len(record.items))))
    return OutputForm(name, "nothing", ()) if isinstance(record.items, Absent) else OutputForm(name, "tensor", (name,))


def _has_subgraphs(proto: NodeProto) -> bool:
    return any(attribute.HasField("g") or attribute.graphs for attribute in proto.attribute)


def _why_not(node: Node) -> str:
    implemented = table.versions(node.domain, node.op_type)
    if implemented:
        return (
            f"version {node.version} of the operator is not supported (supported: {', '.join(map(str, implemented))})"
        )
    if node.schema is None:
        return "not an operator of the standard, and the model has no function of this name"
    return "the operator is not supported"


def _first_values(node: Node, operands: Sequence[Record | None]) -> Record | None:
    """What an Identity makes of a weight that is one number throughout, as a weight of its own by the Identity's name. Exporters write weights of
    equal values once, and untrained scales, shifts and statistics of norms are ones and zeros: they are equal by chance, and part in training."""
    x = operands[0] if len(operands) == 1 else None
    if node.op_type != "Identity" or x is None or x.tensor is None or not _may_be_trained(x):
        return None
    values, name = x.tensor.load(), node.outputs[0]
    if not (values == values.flat[0]).all():
        return None
    return replace(x, name=name, tensor=replace(x.tensor, name=name), value=None)


def _may_be_trained(record: Record) -> bool:
    """Whether a tensor is a parameter by its looks: floats of a file, more than one."""
    return record.origin == "initializer" and is_float(record.dtype) and (record.size or 0) > 1
