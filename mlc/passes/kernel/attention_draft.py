"""The structured ops of attention (mlc/passes/graph/attention_blocks.py), for a block of queries s of a head:

    top[s] = -inf;  total[s] = 0;  acc[s, n] = 0
    turned[d, s] = q[s, d]
    scores[t, s] = sum over d of k[t, d] * turned[d, s], and what comes in front of the softmax;  top[s] = max scores[t, s]
    e[t_2, s] = exp(scores[t_2, s] - top[s]);  total[s] += e[t_2, s];  acc[s, n] += e[t_2, s] * v[t_2, n]
    y[s, n] = acc[s, n] / total[s]

Keys are run through twice, t and t_2: a level of a schedule reaches the one or the other. `turned` and the scores of a block stay in a cache, as
do e of some keys: it is folded where it is computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from xdsl.ir import SSAValue

from mlc.ir.dims import Extent
from mlc.ir.graph.linear import ContractOp, labels
from mlc.ir.graph.reduce import ReduceOp
from mlc.ir.kernel.access import Affine
from mlc.ir.types import dtype_of, shape_of
from mlc.passes.kernel.draft import Access, Draft, DraftOp, Memory


class Node(Protocol):
    """A value of the group and its loops, as group_draft.Node has them."""

    value: SSAValue
    axes: list[str]
    folded: dict[str, Extent]


def part_keys(nodes: Sequence[Node]) -> None:
    """Behind the maximum of the scores, the loop over keys has another name."""
    top = next(n for n, node in enumerate(nodes) if isinstance(node.value.owner, ReduceOp))
    (keys,) = nodes[top].folded
    taken = {name for node in nodes for name in (*node.axes, *node.folded)}
    again = next(name for n in range(2, len(taken) + 3) if (name := f"{keys}_{n}") not in taken)
    for node in nodes[top + 1 :]:
        node.axes = [again if name == keys else name for name in node.axes]
        node.folded = {again if name == keys else name: e for name, e in node.folded.items()}


def queries_last(
    draft: Draft, memory: Mapping[SSAValue, Memory], op: ContractOp, axes: Sequence[str], folded: Mapping[str, str]
) -> dict[SSAValue, tuple[Memory, Access]]:
    """Append the step that copies queries with their last axis the loop that the scores have last; where the copy of them is read. `axes`: the loops of
    the scores, `folded`: those that are summed over, by label."""
    left, right, out = labels(op.spec.data)
    q, names = (op.lhs, left) if out[-1] in left else (op.rhs, right)
    sizes = [c for c in names if c not in out]
    loops = {**dict(zip(out, axes, strict=True)), **folded}
    extents = dict(zip(names, shape_of(q), strict=True))
    order = [c for c in out[:-1] if c in names] + [*sizes, out[-1]]
    turned = draft.memory([extents[c] for c in order], dtype_of(q), "turned", temporary=True)
    steps = loops | {size: f"{loops[size]}_q" for size in sizes}  # by squares, which no other step is cut into
    source, target = (tuple(Affine({steps[c]: 1}) for c in form) for form in (names, order))
    draft.steps.append(
        DraftOp(
            {steps[c]: extents[c] for c in order}, [(memory[q], source)], (turned, target), lambda c, b, xs, out: xs[0]
        )
    )
    return {q: (turned, tuple(Affine({loops[c]: 1}) for c in order))}
