"""Names of the values in texts of one module as passes change it: a value keeps its name for as long as it lives, so that two texts differ
where the passes did something, and nowhere else.

    %query.MatMul = graph.contract ...            by the node of the user's model: its last parts, and what the op does where they say something else
    %layer_norm3.rsqrt = graph.rsqrt ...
    %fc.weight = graph.weight @fc.weight          by the weight
    %x.2                                          the second of a name
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp
from xdsl.ir import BlockArgument, Operation, OpResult, SSAValue

from mlc.ir.graph.base import node_name
from mlc.ir.graph.constants import WeightOp
from mlc.ir.kernel import program

LONGEST = 18  # letters of a node's or weight's name
_OTHER = re.compile(r"[^\w$.-]", re.ASCII)
_COUNT = re.compile(r"(?:_\d+)+$")  # read back, a name loses that: it is how xDSL tells values of one name apart


class ValueNames:
    """`of(value)` is its name, for the text that was begun; that of a value that bears one is made of it."""

    def __init__(self) -> None:
        self._names: dict[SSAValue, str] = {}
        self._counts: dict[str, int] = {}
        self._taken: set[str] = set()
        self._readers: dict[SSAValue, tuple[Operation, int]] = {}  # of each value, as it was in the last text

    def begin(self, module: ModuleOp) -> None:
        """The next text is of this module. What has taken the place of a value has its name; names of others that are gone are free, for an op's
        copy in a group."""
        values = dict.fromkeys(_values(module))
        kept = {value: name for value, name in self._names.items() if value in values}
        for value, name in self._names.items():
            heir = None if value in values else self._heir(value)
            if heir is None or heir not in values or heir in kept or heir.name_hint:
                continue
            if not isinstance(heir.owner, WeightOp):  # which has a name of its own
                kept[heir] = name
        self._names, self._taken, self._counts = kept, set(kept.values()), {}
        self._readers = {value: (use.operation, use.index) for value in values for use in islice(value.uses, 1)}
        for value in values:
            if value.name_hint is not None:
                self.of(value)

    def _heir(self, value: SSAValue) -> SSAValue | None:
        """What the first reader of a value reads in its place now."""
        reader, place = self._readers.get(value, (None, 0))
        return reader.operands[place] if reader is not None and place < len(reader.operands) else None

    def of(self, value: SSAValue) -> str:
        name = self._names.get(value)
        if name is None:
            name = self._names[value] = self._unused(value.name_hint or self._stem(value))
        return name

    def keep(self, module: ModuleOp) -> None:
        """Have the values bear their names from now on, so that copies of them do too."""
        for value in _values(module):
            value.name_hint = self.of(value)

    def _unused(self, stem: str) -> str:
        name = stem
        while name in self._taken:
            self._counts[stem] = self._counts.get(stem, 1) + 1
            name = f"{stem}.{self._counts[stem]}"
        self._taken.add(name)
        return name

    def _stem(self, value: SSAValue) -> str:
        if isinstance(value, BlockArgument):
            op = value.block.parent_op()
            if op is None or len(op.operands) != len(value.block.args):
                return "arg"
            return re.sub(r"(\.\d+)+$", "", self.of(op.operands[value.index]))
        assert isinstance(value, OpResult)
        op = value.op
        if isinstance(op, WeightOp):
            return _short(op.weight_key)
        if isinstance(op, program.WeightOp):
            return _short(op.key.data)
        kind = op.name.rpartition(".")[2]
        node = _short(node_name(op) or "")
        if not node:
            return kind
        about = re.sub(r"[\d_]+$", "", node).rpartition(".")[2].lower()
        return node if about and (kind.startswith(about) or about.startswith(kind)) else f"{node}.{kind}"


def _values(module: ModuleOp) -> Iterator[SSAValue]:
    """Those of @main."""
    for function in module.ops:
        for op in function.walk() if isinstance(function, FuncOp) and function.sym_name.data == "main" else ():
            yield from op.results
            for region in op.regions:
                for block in region.blocks:
                    yield from block.args


def _short(name: str) -> str:
    """The last parts of a name that fit, as a name of a value: /encoder/layer.0/query/MatMul -> query.MatMul, node_Conv_3 -> Conv3."""
    found = ""
    for part in reversed([part for part in re.split(r"[/.:]", name) if part]):
        longer = f"{part}.{found}" if found else part
        if found and len(longer) > LONGEST:
            break
        found = longer
    found = _COUNT.sub(lambda count: count[0].replace("_", ""), _OTHER.sub("_", found.removeprefix("node_"))[-LONGEST:])
    return f"n{found}" if found[:1].isdigit() else found
