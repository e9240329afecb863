"""Plan the arena: how large each buffer of @main is and from which step to which it is alive.

    func.func @main(...)  ->  func.func @main(...) attributes {kernel.arena = [["3072*N", 0, 2], ["64*N*S", 1, 5]]}

Steps are the ops of @main in order, those of branches one branch behind the other; what happens inside a loop happens at its step, so that
all a loop touches stays alive while it runs. A buffer lives as long as any view or row of it. Offsets are found per binding of the symbols (mlc.runtime);
buffers that no step touches have no bytes. An extent that is counted at run time takes its bound.
"""

from __future__ import annotations

from xdsl.dialects import arith, func, scf
from xdsl.dialects.builtin import ArrayAttr, IntegerAttr, StringAttr, i64
from xdsl.ir import Operation, SSAValue

from mlc.errors import InternalError
from mlc.ir import dims
from mlc.ir.kernel.kernel import element_bytes
from mlc.ir.kernel.plan import Lifetime
from mlc.ir.kernel.program import BufferOp, PartOp, RowOp, ViewOp, buffer_shape, clock, memref_of
from mlc.ir.module import counted_sizes


def plan_arena(main: func.FuncOp) -> list[Lifetime]:
    """Write `kernel.arena` of a main function, one entry per buffer number, and return it."""
    steps = clock(main)
    buffers = sorted((op for op in main.walk() if isinstance(op, BufferOp)), key=lambda op: op.number.data)
    if [op.number.data for op in buffers] != list(range(len(buffers))):
        raise InternalError(f"the buffers of @main are not numbered 0 to {len(buffers) - 1}", pass_name="plan-arena")
    counted = counted_sizes(main)
    found = []
    for buffer in buffers:
        used = [_step(user, steps) for user in _users(buffer.result)]
        extents = [dims.ceiling(extent, counted) for extent in buffer_shape(buffer.result)]
        size = dims.prod(extents) * element_bytes(memref_of(buffer.result).element_type)
        found.append(Lifetime(size, min(used), max(used)) if used else Lifetime(0, 0, 0))
    main.attributes["kernel.arena"] = ArrayAttr(
        ArrayAttr([StringAttr(str(life.bytes)), IntegerAttr(life.first, i64), IntegerAttr(life.last, i64)])
        for life in found
    )
    return found


def _users(value: SSAValue) -> list[Operation]:
    """Ops that touch the bytes of a value, under this or another name."""
    users, waiting, seen = [], [value], {value}
    while waiting:
        for use in waiting.pop().uses:
            if not isinstance(use.operation, ViewOp | RowOp | PartOp | arith.SelectOp):
                users.append(use.operation)
            aliases: list[SSAValue] = []
            match use.operation:
                case ViewOp() | RowOp() | PartOp() | arith.SelectOp():
                    aliases = list(use.operation.results)
                case scf.ForOp() as loop:
                    if use.index >= 3:  # behind the bounds and the step
                        aliases = [loop.body.block.args[use.index - 2], loop.results[use.index - 3]]
                case scf.YieldOp() as end:
                    parent = end.parent_op()
                    if isinstance(parent, scf.ForOp):
                        aliases = [parent.results[use.index], parent.body.block.args[use.index + 1]]
                    elif isinstance(parent, scf.IfOp):
                        aliases = [parent.results[use.index]]
            for alias in aliases:
                if alias not in seen:
                    seen.add(alias)
                    waiting.append(alias)
    return users


def _step(op: Operation, steps: dict[Operation, int]) -> int:
    while op not in steps:
        parent = op.parent_op()
        if parent is None:
            raise InternalError(f"{op.name} is not inside @main", pass_name="plan-arena")
        op = parent
    return steps[op]
