"""Where values may be read: behind the op that makes them, in its block and in the regions below. xDSL's verifier leaves this open."""

from __future__ import annotations

from collections.abc import Iterator

from xdsl.ir import Operation, SSAValue
from xdsl.utils.exceptions import VerifyException


def require_one_block(op: Operation) -> None:
    """Raises VerifyException where a region of the op has several blocks: control flow is structured, and nothing jumps."""
    for region in op.regions:
        if (blocks := len(region.blocks)) > 1:
            raise VerifyException(
                f"{op.name}: a region has {blocks} blocks, and one is read: branches are ops (scf.if, graph.if)"
            )


def verify_scope(op: Operation) -> None:
    """Raises VerifyException for regions of several blocks, and for what `out_of_scope` finds first."""
    for inner in op.walk():
        require_one_block(inner)
    for user, value in out_of_scope(op):
        raise VerifyException(scope_error(user, value))


def scope_error(user: Operation, value: SSAValue) -> str:
    name = f"%{value.name_hint}" if value.name_hint else f"operand {list(user.operands).index(value)}"
    return f"{user.name}: {name} is used before it is defined, or where it cannot be seen"


def out_of_scope(root: Operation) -> Iterator[tuple[Operation, SSAValue]]:
    """Each op below `root`, in the order of the text, with an operand that is not defined there. Linear in the size of the IR."""
    visible: set[SSAValue] = set()
    # a list: values that become visible; a tuple: values whose block ends
    stack: list[Operation | list[SSAValue] | tuple[SSAValue, ...]] = [root]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            visible.update(item)
            continue
        if isinstance(item, tuple):
            visible.difference_update(item)
            continue
        for operand in item.operands:
            if operand not in visible:
                yield item, operand
        stack.append(list(item.results))
        for region in reversed(item.regions):
            for block in reversed(list(region.blocks)):
                stack.append((*block.args, *(result for op in block.ops for result in op.results)))
                stack += reversed(list(block.ops))
                stack.append(list(block.args))
