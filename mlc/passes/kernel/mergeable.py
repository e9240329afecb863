"""Loops that run through memory as one become one, loops and axes of one element vanish: the one rule, for drafts and for kernels.

    loops {b: N, s: S, n: 768}   x[b, s, n] : [N, S, 768]      bias[n]
->  loops {b.s: N*S, n: 768}     x[b.s, n]  : [N*S, 768]       bias[n]

A draft merges what is whole: loops behind each other that run through whole axes, whatever is symbolic. So calls see memory of that shape, and
groups that differ in how many axes they run through as one have one kernel. A kernel merges also what is a part of an axis (merge.py).
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations
from typing import Generic, TypeVar

from mlc.ir.dims import Extent
from mlc.ir.kernel.access import Affine

Key = TypeVar("Key", bound=Hashable)  # what stands for a piece of memory


@dataclass
class LoopedOp(Generic[Key]):
    """A structured op by its loops, outermost first: those that it folds, those whose position its body asks for, and where it visits memory."""

    loops: dict[str, Extent]
    folded: set[str]
    asked: Collection[str]
    visits: list[tuple[Key, list[Affine]]]


class MergeableLoops(Generic[Key]):
    """Loops and accesses of ops, in a form that is easy to change: `merge` changes `ops` and `shapes` in place.

    shapes    of the memory that ops visit
    fixed     memory whose axes stay as they are
    whole     merge only loops behind each other that run through whole axes
    groups    axes of each memory at first, by the axes that it has now
    dropped   loops of one step, which are gone
    """

    def __init__(
        self,
        ops: Sequence[LoopedOp[Key]],
        shapes: dict[Key, list[Extent]],
        fixed: Collection[Key],
        whole: bool,
    ):
        self.ops, self.shapes, self.fixed, self.whole = ops, shapes, fixed, whole
        self.groups = {key: [[axis] for axis in range(len(shape))] for key, shape in shapes.items()}
        self.names = list(dict.fromkeys(name for op in ops for name in op.loops))
        self.dropped = [name for name in self.names if all(op.loops.get(name, 1) == 1 for op in ops)]

    def merge(self) -> None:
        self._drop_unit_loops()
        self._drop_unit_axes()
        while pair := next((pair for pair in self._pairs() if self._may_merge(*pair)), None):
            self._merge(*pair)

    def _drop_unit_loops(self) -> None:
        gone = set(self.dropped)
        if not gone:
            return
        self.names = [name for name in self.names if name not in gone]
        for op in self.ops:
            op.loops = {name: extent for name, extent in op.loops.items() if name not in gone}
            op.folded -= gone
            for _, access in op.visits:
                for axis, form in enumerate(access):
                    if form.terms.keys() & gone:
                        access[axis] = Affine({n: c for n, c in form.terms.items() if n not in gone}, form.constant)

    def _drop_unit_axes(self) -> None:
        """An axis of one element does not stand between loops that could merge. In a kernel it joins a neighbour, for a buffer has an axis."""
        visits: dict[Key, list[list[Affine]]] = {}
        for op in self.ops:
            for key, access in op.visits:
                visits.setdefault(key, []).append(access)
        for key, found in visits.items():
            shape, group = self.shapes[key], self.groups[key]
            for axis in reversed(range(len(shape))):
                if key in self.fixed or shape[axis] != 1 or (len(shape) == 1 and not self.whole):
                    continue
                if any(access[axis] != Affine() for access in found):
                    continue
                for access in found:
                    del access[axis]
                del shape[axis]
                if len(group) > 1:
                    other = axis - 1 if axis else axis + 1
                    group[other] = sorted(group[other] + group[axis])
                del group[axis]

    def _pairs(self) -> Iterable[tuple[str, str]]:
        if self.whole:
            return dict.fromkeys(pair for op in self.ops for pair in pairwise(op.loops))
        return permutations(self.names, 2)

    def _may_merge(self, outer: str, inner: str) -> bool:
        touched: dict[
            Hashable, int | None
        ] = {}  # the axes of a memory that one visit runs through, all of its visits must
        alone = True  # wherever it indexes, `outer` does so by itself
        for op in self.ops:
            if (outer in op.loops) != (inner in op.loops):
                return False
            if outer in op.loops:
                if (outer in op.folded) != (inner in op.folded) or outer in op.asked or inner in op.asked:
                    return False
                names = list(op.loops)
                if self.whole and names.index(inner) != names.index(outer) + 1:
                    return False
            for key, access in op.visits:
                axis = next((a for a, form in enumerate(access) if outer in form.terms), None)
                if not self._runs_on(key, access, axis, op, outer, inner) or touched.setdefault(key, axis) != axis:
                    return False
                alone = alone and (axis is None or access[axis] == Affine({outer: 1}))
        # a row length that is known at run time alone must not scale other terms
        extents = [op.loops[inner] for op in self.ops if inner in op.loops]
        return bool(extents) and (alone or all(isinstance(extent, int) for extent in extents))

    def _runs_on(
        self, key: Key, access: list[Affine], axis: int | None, op: LoopedOp[Key], outer: str, inner: str
    ) -> bool:
        """Do both loops index neighbouring axes of this memory, as one loop through both would?"""
        if axis is None:
            return not any(inner in form.terms for form in access)
        if key in self.fixed or any(outer in form.terms for form in access[axis + 1 :]) or axis + 1 == len(access):
            return False
        if any(inner in form.terms for n, form in enumerate(access) if n != axis + 1):
            return False
        if access[axis].terms[outer] != 1 or access[axis + 1] != Affine({inner: 1}):
            return False
        if self.shapes[key][axis + 1] != op.loops[inner]:
            return False
        return not self.whole or (access[axis] == Affine({outer: 1}) and self.shapes[key][axis] == op.loops[outer])

    def _merge(self, outer: str, inner: str) -> None:
        name = f"{outer}.{inner}"
        self.names = [*(n for n in self.names if n not in (outer, inner)), name]
        done = set[Key]()
        for op in self.ops:
            if outer not in op.loops:
                continue
            run, total = op.loops[inner], op.loops[outer] * op.loops[inner]
            op.loops = {
                (name if n == inner else n): (total if n == inner else e) for n, e in op.loops.items() if n != outer
            }
            if outer in op.folded:
                op.folded = (op.folded - {outer, inner}) | {name}
            for key, access in op.visits:
                axis = next((a for a, form in enumerate(access) if outer in form.terms), None)
                if axis is None:
                    continue
                form, by = access[axis], run if isinstance(run, int) else 1
                rest = {n: c * by for n, c in form.terms.items() if n != outer}
                access[axis : axis + 2] = [Affine({name: 1} | rest, form.constant * by)]
                if key not in done:
                    done.add(key)
                    shape, group = self.shapes[key], self.groups[key]
                    shape[axis : axis + 2] = [shape[axis] * shape[axis + 1]]
                    group[axis : axis + 2] = [group[axis] + group[axis + 1]]
