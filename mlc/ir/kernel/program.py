"""The planned main function of a module: buffers with numbers, and the calls of kernels that fill them.

    func.func @main(%x: memref<?x768xf32> {kernel.name = "x", kernel.role = "input", kernel.dtype = "f32", kernel.dims = ...},
                    %y: memref<?x10xf32> {kernel.name = "y", kernel.role = "output", ...}) {
      %n = kernel.size "N*S"
      %w = kernel.weight "fc.weight" : memref<24x768x32xf32>
      %b = kernel.buffer 3 dims ["N", "S", "768"] : memref<?x?x768xf32>
      %v = kernel.view %b dims ["N*S", "768"] : memref<?x?x768xf32> to memref<?x768xf32>
      kernel.call @gemm_0(%v, %w, %b, %n) from ["layer1/MatMul", "layer1/Add"] : memref<?x768xf32>, ..., index
      scf.for %t = %zero to %n step %one {
        %s = kernel.row %b[%t] : memref<?x?x768xf32> to memref<?x768xf32>
        ...
      }
      func.return
    }

Destination passing: a kernel writes into the buffers it is given; outputs are arguments. Every memref here is row-major and
without gaps, so its dimension expressions say everything; the strides that a kernel leaves open follow from them. A call lists
the kernel's buffers, then its extents; scratch memory and the range of tiles are added where the call is emitted. Beside these
ops @main may hold scf.for, scf.if and scf.while, arithmetic on indices and flags, memref.load of one element, and memref.copy.
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects import arith, func, scf
from xdsl.dialects.builtin import (
    DYNAMIC_INDEX,
    ArrayAttr,
    FixedBitwidthType,
    IndexType,
    IntAttr,
    IntegerAttr,
    MemRefType,
    NameLoc,
    NoneAttr,
    StringAttr,
    SymbolRefAttr,
    UnknownLoc,
    i64,
)
from xdsl.ir import Attribute, Block, BlockArgument, Dialect, Operation, OpResult, SSAValue
from xdsl.irdl import (
    IRDLOperation,
    irdl_op_definition,
    operand_def,
    prop_def,
    result_def,
    traits_def,
    var_operand_def,
)
from xdsl.parser import Parser
from xdsl.printer import Printer
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from mlc.errors import InternalError
from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.kernel.all_reduce import AllReduceStartOp, AllReduceWaitOp, RankOp
from mlc.ir.kernel.async_copies import AwaitCopiesOp, CommitCopiesOp, CopyAsyncOp
from mlc.ir.kernel.tensor_cores import FragmentOp, MmaOp
from mlc.ir.kernel.warp_ops import FoldLanesOp, PairOp, SyncWarpOp
from mlc.ir.types import DimsAttr, Shape

index = IndexType()


def memref_type(shape: Sequence[Extent], element: Attribute) -> MemRefType:
    """Row-major, with `?` for each extent that is an expression."""
    return MemRefType(element, [e if isinstance(e, int) else DYNAMIC_INDEX for e in shape])


def memref_of(value: SSAValue) -> MemRefType:
    assert isinstance(value.type, MemRefType), value.type
    return value.type


def buffer_shape(value: SSAValue) -> Shape:
    """The extents of a memref in @main: of an argument by its attributes, of a result by its op, of what a loop carries or a branch
    gives by what comes in."""
    op = value.owner
    if isinstance(op, BufferOp | ViewOp | PartOp):
        return op.dims.extents()
    if isinstance(op, RowOp):
        return buffer_shape(op.base)[1:]
    shape = memref_of(value).get_shape()
    if DYNAMIC_INDEX not in shape:
        return tuple(shape)
    assert isinstance(value, BlockArgument | OpResult)
    match op:
        case scf.ForOp():
            return buffer_shape(op.iter_args[value.index])
        case scf.IfOp():
            assert op.true_region.block.last_op is not None
            return buffer_shape(op.true_region.block.last_op.operands[value.index])
        case arith.SelectOp():
            return buffer_shape(op.lhs)
        case Block():
            parent = op.parent_op()
            if isinstance(parent, scf.ForOp):
                return buffer_shape(parent.iter_args[value.index - 1])
            attrs = getattr(parent, "arg_attrs", None)
            found = attrs.data[value.index].data.get("kernel.dims") if attrs is not None else None
            if isinstance(found, DimsAttr):
                return found.extents()
    raise InternalError(f"the extents of {value} are not stated")


def _check(type: Attribute, shape: Shape) -> None:
    assert isinstance(type, MemRefType)
    if not isinstance(type.layout, NoneAttr):
        raise VerifyException(f"{type} is not row-major")
    if memref_type(shape, type.element_type).get_shape() != type.get_shape():
        raise VerifyException(f"{type} does not have the extents [{', '.join(map(str, shape))}]")


def _parse_dims(parser: Parser) -> DimsAttr:
    parser.parse_keyword("dims")
    texts = parser.parse_comma_separated_list(parser.Delimiter.SQUARE, parser.parse_str_literal)
    return DimsAttr(ArrayAttr([StringAttr(text) for text in texts]))


def _print_dims(printer: Printer, attr: DimsAttr) -> None:
    printer.print_string(" dims [")
    printer.print_list(attr.texts.data, lambda text: printer.print_string_literal(text.data))
    printer.print_string("]")


def _print_type(printer: Printer, type: Attribute) -> None:
    printer.print_string(" : ")
    printer.print_attribute(type)


@irdl_op_definition
class SizeOp(IRDLOperation):
    """The value of a dimension expression; one entry of the table of sizes."""

    name = "kernel.size"
    expression = prop_def(StringAttr)
    result = result_def(IndexType)
    traits = traits_def(Pure())

    def __init__(self, extent: Extent):
        super().__init__(properties={"expression": StringAttr(str(extent))}, result_types=[index])

    @property
    def extent(self) -> Extent:
        return dims.parse(self.expression.data)

    def verify_(self) -> None:
        try:
            dims.parse(self.expression.data)
        except ValueError as error:
            raise VerifyException(str(error)) from None

    @classmethod
    def parse(cls, parser: Parser) -> SizeOp:
        op = cls(0)
        op.properties["expression"] = StringAttr(parser.parse_str_literal())
        return op

    def print(self, printer: Printer) -> None:
        printer.print_string(" ")
        printer.print_string_literal(self.expression.data)


@irdl_op_definition
class WeightOp(IRDLOperation):
    """The bytes of a weight of the weight store, laid out as the type says (packed ones lie as their kernel wants them)."""

    name = "kernel.weight"
    key = prop_def(StringAttr)
    result = result_def(MemRefType)
    traits = traits_def(Pure())

    def __init__(self, key: str, type: MemRefType):
        super().__init__(properties={"key": StringAttr(key)}, result_types=[type])

    @classmethod
    def parse(cls, parser: Parser) -> WeightOp:
        key = parser.parse_str_literal()
        parser.parse_characters(":")
        type = parser.parse_type()
        assert isinstance(type, MemRefType)
        return cls(key, type)

    def print(self, printer: Printer) -> None:
        printer.print_string(" ")
        printer.print_string_literal(self.key.data)
        _print_type(printer, self.result.type)


@irdl_op_definition
class BufferOp(IRDLOperation):
    """Memory of the arena, alive from the first to the last op that uses it or a view of it."""

    name = "kernel.buffer"
    number = prop_def(IntAttr)
    dims = prop_def(DimsAttr)
    result = result_def(MemRefType)

    def __init__(self, number: int, shape: Sequence[Extent], element: Attribute):
        super().__init__(
            properties={"number": IntAttr(number), "dims": DimsAttr.of(shape)},
            result_types=[memref_type(shape, element)],
        )

    def verify_(self) -> None:
        _check(self.result.type, self.dims.extents())

    @classmethod
    def parse(cls, parser: Parser) -> BufferOp:
        number = parser.parse_integer(allow_boolean=False, allow_negative=False)
        attr = _parse_dims(parser)
        parser.parse_characters(":")
        type = parser.parse_type()
        return cls.create(properties={"number": IntAttr(number), "dims": attr}, result_types=[type])

    def print(self, printer: Printer) -> None:
        printer.print_string(f" {self.number.data}")
        _print_dims(printer, self.dims)
        _print_type(printer, self.result.type)


@irdl_op_definition
class ViewOp(IRDLOperation):
    """The same bytes with other extents: a reshape without a copy."""

    name = "kernel.view"
    base = operand_def(MemRefType)
    dims = prop_def(DimsAttr)
    result = result_def(MemRefType)
    traits = traits_def(Pure())

    def __init__(self, base: SSAValue, shape: Sequence[Extent]):
        type = memref_type(shape, memref_of(base).element_type)
        super().__init__(operands=[base], properties={"dims": DimsAttr.of(shape)}, result_types=[type])

    def verify_(self) -> None:
        shape = self.dims.extents()
        _check(self.result.type, shape)
        if memref_of(self.base).element_type != self.result.type.element_type:
            raise VerifyException(f"{self.base.type} and {self.result.type} differ in their elements")
        have, want = dims.prod(buffer_shape(self.base)), dims.prod(shape)
        if isinstance(have, int) and isinstance(want, int) and have != want:
            raise VerifyException(f"{self.base.type} has {have} elements, {self.result.type} {want}")

    @classmethod
    def parse(cls, parser: Parser) -> ViewOp:
        unresolved = parser.parse_unresolved_operand()
        attr = _parse_dims(parser)
        parser.parse_characters(":")
        base = parser.resolve_operand(unresolved, parser.parse_type())
        parser.parse_keyword("to")
        return cls.create(operands=[base], properties={"dims": attr}, result_types=[parser.parse_type()])

    def print(self, printer: Printer) -> None:
        printer.print_string(" ")
        printer.print_ssa_value(self.base)
        _print_dims(printer, self.dims)
        _print_type(printer, self.base.type)
        printer.print_string(" to ")
        printer.print_attribute(self.result.type)


def viewed(value: SSAValue) -> SSAValue:
    """The memory behind views of a value: what has its first byte where the value has it."""
    while isinstance(value.owner, ViewOp):
        value = value.owner.base
    return value


@irdl_op_definition
class RowOp(IRDLOperation):
    """What lies at one position of the outermost axis: result[...] is base[position, ...]."""

    name = "kernel.row"
    base = operand_def(MemRefType)
    position = operand_def(IndexType)
    result = result_def(MemRefType)
    traits = traits_def(Pure())

    def __init__(self, base: SSAValue, position: SSAValue):
        type = memref_of(base)
        if not type.get_num_dims():
            raise InternalError(f"kernel.row: {type} has no axis")
        row = MemRefType(type.element_type, type.get_shape()[1:])
        super().__init__(operands=[base, position], result_types=[row])

    def verify_(self) -> None:
        base = memref_of(self.base)
        if base.get_shape()[1:] != self.result.type.get_shape() or base.element_type != self.result.type.element_type:
            raise VerifyException(f"{self.result.type} is not a row of {base}")

    @classmethod
    def parse(cls, parser: Parser) -> RowOp:
        unresolved = parser.parse_unresolved_operand()
        parser.parse_characters("[")
        position = parser.resolve_operand(parser.parse_unresolved_operand(), index)
        parser.parse_characters("]")
        parser.parse_characters(":")
        base = parser.resolve_operand(unresolved, parser.parse_type())
        parser.parse_keyword("to")
        return cls.create(operands=[base, position], result_types=[parser.parse_type()])

    def print(self, printer: Printer) -> None:
        printer.print_string(" ")
        printer.print_ssa_value(self.base)
        printer.print_string("[")
        printer.print_ssa_value(self.position)
        printer.print_string("]")
        _print_type(printer, self.base.type)
        printer.print_string(" to ")
        printer.print_attribute(self.result.type)


@irdl_op_definition
class PartOp(IRDLOperation):
    """The elements of a flat buffer from `offset` on, as many as the extents have: a member of a bucket (mlc/ir/kernel/all_reduce.py)."""

    name = "kernel.part"
    base = operand_def(MemRefType)
    offset = prop_def(IntAttr)
    dims = prop_def(DimsAttr)
    result = result_def(MemRefType)
    traits = traits_def(Pure())

    def __init__(self, base: SSAValue, offset: int, shape: Sequence[Extent]):
        type = memref_type(shape, memref_of(base).element_type)
        properties = {"offset": IntAttr(offset), "dims": DimsAttr.of(shape)}
        super().__init__(operands=[base], properties=properties, result_types=[type])

    @property
    def bytes(self) -> int:
        """How far behind the first byte of the buffer it begins."""
        element = self.result.type.element_type
        assert isinstance(element, FixedBitwidthType), element
        return self.offset.data * element.size

    def verify_(self) -> None:
        shape = self.dims.extents()
        _check(self.result.type, shape)
        if memref_of(self.base).element_type != self.result.type.element_type:
            raise VerifyException(f"{self.base.type} and {self.result.type} differ in their elements")
        have, end = dims.prod(buffer_shape(self.base)), self.offset.data + dims.prod(shape)
        if self.offset.data < 0 or (isinstance(have, int) and isinstance(end, int) and have < end):
            raise VerifyException(f"{self.base.type} has {have} elements, and its part ends behind {end}")

    @classmethod
    def parse(cls, parser: Parser) -> PartOp:
        unresolved = parser.parse_unresolved_operand()
        offset = parser.parse_integer(allow_boolean=False, allow_negative=False)
        attr = _parse_dims(parser)
        parser.parse_characters(":")
        base = parser.resolve_operand(unresolved, parser.parse_type())
        parser.parse_keyword("to")
        properties = {"offset": IntAttr(offset), "dims": attr}
        return cls.create(operands=[base], properties=properties, result_types=[parser.parse_type()])

    def print(self, printer: Printer) -> None:
        printer.print_string(" ")
        printer.print_ssa_value(self.base)
        printer.print_string(f" {self.offset.data}")
        _print_dims(printer, self.dims)
        _print_type(printer, self.base.type)
        printer.print_string(" to ")
        printer.print_attribute(self.result.type)


def memory_of(value: SSAValue) -> SSAValue:
    """What a view, a row, or what a loop carries lies in."""
    while True:
        owner = value.owner
        if isinstance(owner, ViewOp | RowOp | PartOp):
            value = owner.base
        elif (
            isinstance(value, BlockArgument) and isinstance(loop := value.block.parent_op(), scf.ForOp) and value.index
        ):
            value = loop.iter_args[value.index - 1]
        elif isinstance(owner, scf.ForOp):
            assert isinstance(value, OpResult)
            value = owner.iter_args[value.index]
        else:
            return value


@irdl_op_definition
class CallOp(IRDLOperation):
    """Run a kernel: its buffers, then its extents. `source` names the nodes of the user's model that it computes."""

    name = "kernel.call"
    callee = prop_def(SymbolRefAttr)
    arguments = var_operand_def()
    source = prop_def(ArrayAttr[StringAttr])

    def __init__(self, callee: str, arguments: Sequence[SSAValue], source: Sequence[str] = ()):
        super().__init__(
            operands=[arguments],
            properties={"callee": SymbolRefAttr(callee), "source": ArrayAttr([StringAttr(name) for name in source])},
        )

    @property
    def kernel(self) -> str:
        """The name of the kernel's function."""
        return self.callee.root_reference.data

    @classmethod
    def parse(cls, parser: Parser) -> CallOp:
        callee = parser.parse_symbol_name()
        unresolved = parser.parse_comma_separated_list(parser.Delimiter.PAREN, parser.parse_unresolved_operand)
        source: list[str] = []
        if parser.parse_optional_keyword("from"):
            source = parser.parse_comma_separated_list(parser.Delimiter.SQUARE, parser.parse_str_literal)
        types: list[Attribute] = []
        if unresolved:
            parser.parse_characters(":")
            types = parser.parse_comma_separated_list(parser.Delimiter.NONE, parser.parse_type)
        return cls(callee.data, parser.resolve_operands(unresolved, types, parser.pos), source)

    def print(self, printer: Printer) -> None:
        printer.print_string(" ")
        printer.print_attribute(self.callee)
        with printer.in_parens():
            printer.print_list(self.arguments, printer.print_ssa_value)
        if self.source.data:
            printer.print_string(" from [")
            printer.print_list(self.source.data, lambda text: printer.print_string_literal(text.data))
            printer.print_string("]")
        if self.arguments:
            printer.print_string(" : ")
            printer.print_list(self.arguments.types, printer.print_attribute)


def group_location(number: int) -> NameLoc:
    """The location of the calls that compute a group: its number among the groups of the module that was outlined."""
    return NameLoc(StringAttr(f"group {number}"), UnknownLoc())


def group_of(call: Operation) -> int | None:
    """The number of the group that a call computes, alone or with others; None where that is not known."""
    place = call.location
    name = place.parameters[0] if isinstance(place, NameLoc) else None
    words = name.data.split() if isinstance(name, StringAttr) else []
    return int(words[1]) if len(words) == 2 and words[0] == "group" and words[1].isdecimal() else None


@irdl_op_definition
class CountOp(IRDLOperation):
    """From here on the symbol has the value of the buffer's only element, clamped to 0 and `bound`: a size that depends on data.

    Memory is reserved for the bound. Extents with the symbol mean something only in ops behind this one.
    """

    name = "kernel.count"
    symbol = prop_def(StringAttr)
    bound = prop_def(StringAttr)
    buffer = operand_def(MemRefType)

    def __init__(self, symbol: str, bound: Extent, buffer: SSAValue):
        properties = {"symbol": StringAttr(symbol), "bound": StringAttr(str(bound))}
        super().__init__(operands=[buffer], properties=properties)

    @property
    def most(self) -> Extent:
        return dims.parse(self.bound.data)

    def verify_(self) -> None:
        type = memref_of(self.buffer)
        if type.element_type != i64 or any(size != 1 for size in type.get_shape()):
            raise VerifyException(f"a count is one i64, not {type}")

    @classmethod
    def parse(cls, parser: Parser) -> CountOp:
        symbol = parser.parse_str_literal()
        parser.parse_keyword("most")
        bound = parser.parse_str_literal()
        parser.parse_keyword("in")
        unresolved = parser.parse_unresolved_operand()
        parser.parse_characters(":")
        buffer = parser.resolve_operand(unresolved, parser.parse_type())
        properties = {"symbol": StringAttr(symbol), "bound": StringAttr(bound)}
        return cls.create(operands=[buffer], properties=properties)

    def print(self, printer: Printer) -> None:
        printer.print_string(" ")
        printer.print_string_literal(self.symbol.data)
        printer.print_string(" most ")
        printer.print_string_literal(self.bound.data)
        printer.print_string(" in ")
        printer.print_ssa_value(self.buffer)
        _print_type(printer, self.buffer.type)


def clock(main: func.FuncOp) -> dict[Operation, int]:
    """When the ops of @main run, as lifetimes count: in order, and those of both branches of an scf.if one behind the other, so that buffers
    of which only one is needed are not alive together. What happens inside a loop happens at its step."""
    found: dict[Operation, int] = {}

    def visit(block: Block) -> None:
        for op in block.ops:
            if isinstance(op, scf.IfOp):
                for region in op.regions:
                    for inner in region.blocks:
                        visit(inner)
            found[op] = len(found)

    visit(main.body.block)
    return found


def sizes_asked(op: Operation) -> dict[str, int]:
    """The sizes that the innermost branch round an op is for: {"N": 8} within scf.if (N == 8); nothing where it is for all others."""
    branch = op.parent_op()
    block = op.parent_block()
    while branch is not None and not isinstance(branch, scf.IfOp):
        block, branch = branch.parent_block(), branch.parent_op()
    return _sizes_of(branch.cond) if branch is not None and block is branch.true_region.block else {}


def _sizes_of(flag: SSAValue) -> dict[str, int]:
    """What a flag compares: sizes with numbers."""
    match flag.owner:
        case arith.AndIOp() as both:
            return {**_sizes_of(both.lhs), **_sizes_of(both.rhs)}
        case arith.CmpiOp() as test if test.predicate.value.data == arith.CMPI_COMPARISON_OPERATIONS.index("eq"):
            size, number = test.lhs.owner, test.rhs.owner
            if (
                isinstance(size, SizeOp)
                and isinstance(number, arith.ConstantOp)
                and isinstance(number.value, IntegerAttr)
            ):
                return {size.expression.data: number.value.value.data}
    return {}


OF_MAIN: list[type[Operation]] = [
    SizeOp,
    WeightOp,
    BufferOp,
    ViewOp,
    RowOp,
    PartOp,
    CountOp,
    CallOp,
    AllReduceStartOp,
    AllReduceWaitOp,
    RankOp,
]
KernelDialect = Dialect(
    "kernel", [*OF_MAIN, FragmentOp, MmaOp, FoldLanesOp, PairOp, SyncWarpOp, CopyAsyncOp, CommitCopiesOp, AwaitCopiesOp]
)
