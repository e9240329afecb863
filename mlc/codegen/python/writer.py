"""Writes the ops of a block as Python statements.

An element-wise op or a view that is used once stands inside of the expression that uses it, as long as lines stay short; what else there is
gets a name, from the node that it came from. A comment names that node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath

from xdsl.dialects.builtin import FileLineColLoc
from xdsl.ir import Block, BlockArgument, Operation, SSAValue

from mlc.codegen.python.lines import WIDTH, wrapped
from mlc.codegen.python.names import Names, printable, quoted
from mlc.codegen.python.numpy_expression import ATOM, SUM, Expr, dtype_text, missing
from mlc.codegen.python.registry import form_of
from mlc.errors import UnsupportedOp
from mlc.ir import dims
from mlc.ir.dims import Dim, Extent
from mlc.ir.graph.base import Check, line_of, location_name, node_name
from mlc.ir.graph.reduce import ReduceOp
from mlc.ir.types import dtype_of, shape_of

LIMIT = 80  # characters of an expression that others are written into
DEEPEST = 8  # bodies inside of one another; Python itself ends at 20


@dataclass
class Program:
    """What all functions of a program share: its names, the library's functions that it calls, the functions made of bodies."""

    shared: set[str]  # names of functions and sizes, and those of the library
    local: set[str] = field(default_factory=set)  # names in any function
    symbols: dict[str, str] = field(default_factory=dict)  # a size of the module -> its name in the program
    checks: list[Check] = field(default_factory=list)  # that wait for a size
    called: dict[str, None] = field(default_factory=dict)  # functions of the library
    functions: list[str] = field(default_factory=list)  # made of bodies
    known: dict[tuple[str, ...], tuple[str, list[str]]] = field(default_factory=dict)  # equal bodies are one function
    bound: set[str] = field(default_factory=set)  # sizes that are known
    uses_ml_dtypes: bool = False

    def name(self, text: str) -> str:
        """A name that all functions may use."""
        found = Names(self.shared, self.local).new(text)
        self.shared.add(found)
        return found

    def symbol(self, name: str) -> str:
        if name not in self.symbols:
            self.symbols[name] = self.name(name)
        return self.symbols[name]


class Writer:
    """One function under construction."""

    def __init__(self, program: Program, indent: int = 1):
        self.program = program
        self.names = Names(program.shared, record=program.local)
        self.lines: list[str] = []
        self.indent = indent
        self.values: dict[SSAValue, Expr] = {}
        self.hints: dict[SSAValue, str] = {}
        self.needs: dict[str, None] = {}  # names of sizes, and `weights`, that the function reads
        self._read: list[SSAValue] = []
        self._origin: tuple[str, ...] = ()

    # Operands --------------------------------------------------------------------------------------------------------
    def operand(self, value: SSAValue) -> Expr:
        """What stands for a value: it may have fewer axes, or be a bare number."""
        self._read.append(value)
        return self.values[value]

    def typed(self, value: SSAValue) -> Expr:
        """As operand, with the dtype of the value wherever it stands."""
        e = self.operand(value)
        return replace(e, text=f"{self.dtype(dtype_of(value))}({e.text})", level=ATOM, number=False) if e.number else e

    def array(self, value: SSAValue) -> Expr:
        """The value with all its axes."""
        e = self.operand(value)
        axes = (True,) * len(e.axes)
        if e.number and e.axes:
            shape, dtype = self.shape(shape_of(value)), self.dtype(dtype_of(value))
            return Expr(
                f"{_FILLED.get(e.text, 'np.full')}({shape}, {'' if e.text in _FILLED else f'{e.text}, '}{dtype})", axes
            )
        if e.number:
            return self.typed(value)
        if e.exact:
            return e
        return Expr(f"np.broadcast_to({e.text}, {self.shape(shape_of(value))})", axes, origins=e.origins)

    def named(self, value: SSAValue) -> str:
        """A name for the value with all its axes, or a number with its dtype."""
        e = self.array(value)
        if e.free:
            return e.text
        self.assign(value, e)
        return self.values[value].text

    # Texts -----------------------------------------------------------------------------------------------------------
    def size(self, extent: Extent) -> str:
        """A dimension expression in Python."""
        if isinstance(extent, int):
            return str(extent)
        renamed: dict[str, Extent] = {}
        for symbol in sorted(extent.symbols()):
            name = self.program.symbol(symbol)
            self.needs[name] = None
            renamed[symbol] = dims.symbol(name)
        text = str(dims.substitute(extent, {s: d for s, d in renamed.items() if str(d) != s}))
        return text.replace("*", " * ").replace("//", " // ")

    def sizes(self, extents: Sequence[Extent]) -> str:
        return ", ".join(map(self.size, extents))

    def shape(self, extents: Sequence[Extent]) -> str:
        """A tuple."""
        return f"({self.sizes(extents)}{',' if len(extents) == 1 else ''})"

    def dtype(self, dtype: str) -> str:
        text = dtype_text(dtype)
        self.program.uses_ml_dtypes |= text.startswith("ml_dtypes")
        return text

    def call(self, name: str, *arguments: str, **named: str | None) -> str:
        """A call of a function of the library. Named arguments that are None are left out."""
        self.program.called[name] = None
        given = [*arguments, *(f"{key}={text}" for key, text in named.items() if text is not None)]
        return f"{name}({', '.join(given)})"

    # Statements ------------------------------------------------------------------------------------------------------
    def line(self, text: str, origins: Sequence[str] = ()) -> None:
        """A statement, with a comment that says which nodes it came from, where those are others than before."""
        left = text.partition(" = ")[0]
        told = tuple(name for name in dict.fromkeys(origins) if _called(name) != left)
        comment = f"# {printable(_listed(told))}" if told and told != self._origin else ""
        self._origin = told or self._origin
        lines = wrapped(text, self._margin)
        if comment and len(lines) == 1 and len(lines[0]) + len(comment) + 2 <= WIDTH:
            self.lines.append(f"{lines[0]}  {comment}")
        else:
            self.lines += [self._margin + comment] * bool(comment) + lines

    @property
    def _margin(self) -> str:
        return "    " * self.indent

    def assign(self, value: SSAValue, e: Expr) -> None:
        """Give a value a name."""
        name = self.names.new(self.hint(value))
        self.line(f"{name} = {e.text}", e.origins)
        self.values[value] = Expr(name, e.axes, free=True)

    def hint(self, value: SSAValue) -> str:
        """What a value might be called: what it was told to be, its node where it leaves that, else its op."""
        if value in self.hints:
            return self.hints[value]
        if isinstance(value, BlockArgument):
            return value.name_hint or "x"
        op = value.owner
        assert isinstance(op, Operation)
        node = _node(op)
        if node and any(_node(use.operation) != node for use in value.uses):
            return node
        if isinstance(op, ReduceOp):
            return _FOLDED.get(op.kind.data, op.kind.data)
        return _SHORT.get(op.name, op.name.rpartition(".")[2])

    def give(self, results: Sequence[str]) -> None:
        """Return one result, or the tuple of several."""
        text = ", ".join(results) or "()"
        self.line(f"return ({text})" if len(results) > 1 and len(text) > WIDTH - 12 else f"return {text}")

    # Checks ----------------------------------------------------------------------------------------------------------
    def check(self, condition: str, message: str) -> None:
        """Raise ValueError where the condition does not hold. The message is the inside of an f-string."""
        text = f'"{message}"'
        self.line(self.call("check", condition, f"f{text}" if "{" in message else text))

    def counted(self, *symbols: str) -> None:
        """These sizes are known now: check what waited for the last of them."""
        ready = [check for check in self.program.checks if check.symbols <= self.program.bound.union(symbols)]
        self.program.bound.update(symbols)
        self.program.checks = [check for check in self.program.checks if check not in ready]
        for each in ready:
            lhs, rhs = self.size(each.lhs), self.size(each.rhs)
            found = ", ".join(f"{text} is {{{text}}}" for text in (lhs, rhs) if not text.isdecimal())
            self.check(f"{lhs} == {rhs}", f"{quoted(each.message)}: {lhs} must be {rhs}; {found}")

    # Blocks ----------------------------------------------------------------------------------------------------------
    def block(self, block: Block) -> None:
        """All ops of a block but its terminator."""
        for op in block.ops:
            if op is not block.last_op:
                self.write(op)

    def write(self, op: Operation) -> None:
        form = form_of(op)
        if form is None:
            raise UnsupportedOp(
                f"{op.name} has no form in NumPy",
                node=location_name(op),
                remedy="Enter one with mlc.codegen.python.registry.form.",
            )
        if all(result.first_use is None for result in op.results) and op.results and form.nested:
            return
        while True:
            self._read = []
            found = form.write(self, op)
            pending = [v for v in self._read if not self.values[v].free]
            text = found.text if isinstance(found, Expr) else found
            if text is None or len(text) <= LIMIT or not pending:
                break
            longest = max(pending, key=lambda v: len(self.values[v].text))
            self.assign(longest, self.values[longest])
        own = (place,) if (place := place_of(op)) else ()
        origins = tuple(dict.fromkeys([o for v in pending for o in self.values[v].origins] + list(own)))
        if isinstance(found, Expr):
            (result,) = op.results
            self.values[result] = replace(found, origins=() if found.free else origins)
            if not found.free and not (form.nested and used_once(result)):
                self.assign(result, self.values[result])
        elif found is not None:
            names = [self.names.new(self.hint(result)) for result in op.results]
            self.line(f"{', '.join(names)}{',' if len(names) == 1 else ''} = {found}", origins)
            for result, name in zip(op.results, names, strict=True):
                self.values[result] = Expr(name, (True,) * len(shape_of(result)), free=True)

    # Functions -------------------------------------------------------------------------------------------------------
    def function(self, block: Block, title: str, arguments: Sequence[SSAValue], key: tuple[str, ...] = ()) -> str:
        """The call of a function made of a closed body. Bodies of one key are one function."""
        texts = [self.named(v) for v in arguments]
        return self.body_call(block, title, texts, [self.hint(v) for v in arguments], key)

    def body_call(
        self, block: Block, title: str, texts: Sequence[str], hints: Sequence[str], key: tuple[str, ...] = ()
    ) -> str:
        """As `function`, with texts as the arguments."""
        name, needs = self.program.known.get(key, ("", []))
        if not name:
            name, needs = self._define(block, title, hints)
            if key:
                self.program.known[key] = name, needs
        self.needs.update(dict.fromkeys(needs))
        return f"{name}({', '.join([*texts, *needs])})"

    def _define(self, block: Block, title: str, hints: Sequence[str]) -> tuple[str, list[str]]:
        name = self.program.name(title)
        inner = Writer(self.program)
        parameters = [inner.names.new(hint) for hint in hints]
        for argument, parameter in zip(block.args, parameters, strict=True):
            inner.values[argument] = Expr(parameter, (True,) * len(shape_of(argument)), free=True)
        inner.block(block)
        assert block.last_op is not None
        results = [inner.array(v).text for v in block.last_op.operands]
        inner.give(results)
        needs = list(inner.needs)
        head = wrapped(f"def {name}({', '.join([*parameters, *needs])}):", "")
        self.program.functions.append("\n".join([*head, *inner.lines]))
        return name, needs


def used_once(value: SSAValue) -> bool:
    """Is there one operand that reads the value?"""
    first = value.first_use
    return first is not None and sum(1 for _ in zip(value.uses, range(2), strict=False)) == 1


def whole(value: SSAValue, text: str, level: int = ATOM) -> Expr:
    """An expression that has all axes of a value."""
    return Expr(text, (True,) * len(shape_of(value)), level)


def joined(value: SSAValue, parts: Sequence[Expr]) -> tuple[bool, ...]:
    """The axes of an element-wise result: those that any operand has. Ones of extent 1 are all there behind the first."""
    axes = [any(e.axes[a] for e in parts) for a in range(len(shape_of(value)))]
    first = missing(axes)
    return tuple(there or (a > first and shape_of(value)[a] == 1) for a, there in enumerate(axes))


def extent_level(extent: Extent) -> int:
    """How tightly the text of a dimension expression binds, at least."""
    return ATOM if isinstance(extent, int) or isinstance(extent, Dim) and str(extent).isidentifier() else SUM


def place_of(op: Operation) -> str | None:
    """Where an op came from, as comments say it: a node, or a line of a file without its folder."""
    if node_name(op) is None and isinstance(at := line_of(op), FileLineColLoc):
        return f"{PurePath(at.filename.data).name}:{at.line.data}"
    return location_name(op)


def _node(op: Operation) -> str | None:
    """What the node an op came from is called, where it has a name."""
    name = node_name(op)
    return _called(name) if name else None


def _called(node: str) -> str:
    """What a value of a node is called after it."""
    return node.lower().removeprefix("node_")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


_FILLED = {"0.0": "np.zeros", "0": "np.zeros", "1.0": "np.ones", "1": "np.ones"}
_FOLDED = {"sum": "total", "prod": "product", "max": "largest", "min": "smallest", "and": "every", "or": "some"}
_SHORT = {
    "graph.contract": "product",
    "graph.convolution": "conv",
    "graph.reduce_window": "pooled",
    "graph.concatenate": "joined",
    "graph.broadcast": "repeated",
    "graph.reshape": "reshaped",
    "graph.transpose": "turned",
    "graph.slice": "part",
    "graph.gather": "taken",
    "graph.scatter": "changed",
    "graph.select": "chosen",
    "graph.iota": "numbers",
    "graph.cast": "converted",
}
