"""The structured ops of Winograd's convolution (mlc/ir/graph/winograd.py), for one block of tiles after another:

    half[b, d] += Bt[d, a] x[m ty + a, m tx + b];  v[xi, nu] += Bt[nu, h] half[h, xi];  V[t = (xi, nu), p] = v       p: the tiles of a block
    sum[t, p] += V[t, p] * U[t];                   M[t, p] = sum
    back[s, q] += At[q, r] M[t = (r, s), p];       y[i, j] += At[j, u] back[u, i];      acc[m ty + i, m tx + j] = y

Bt and At are products of matrices themselves, each of which is a sum like these, over e and f.

A block has all tiles of some rows, of one or several images. V, M and acc hold one block and stay in a cache; what comes behind the convolution
reads acc. Where the blocks do not divide an image, the rows that are left have a kernel of their own.

Where height or width is known at run time alone, there is one kernel: rows of tiles are a loop around all, ty, of which the schedule takes some at a
time (Level.beside says which rows of the result belong to them), and a row's tiles are multiplied along px instead of p.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from xdsl.dialects import arith
from xdsl.ir import SSAValue

from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.graph import scalar
from mlc.ir.graph.winograd import TAPS, WinogradOp, transforms
from mlc.ir.kernel.access import Affine, L, affine
from mlc.ir.kernel.kernel import Body
from mlc.ir.types import shape_of
from mlc.passes.kernel.draft import Access, Context, Draft, DraftOp, Memory

Extents = dict[str, Extent]
Read = tuple[Memory, Sequence[Affine | str]]  # a memory and where an op stands in it
Scalar = Callable[[Context, Body, Sequence[SSAValue], SSAValue], SSAValue]
LINE = 16  # elements of a line of a cache


@dataclass(frozen=True)
class Band:
    """Rows of the result that a kernel computes: from `first` on, `blocks` blocks of `height` rows, which are `tiles` rows of tiles. Of `open`
    sizes all rows: how many are a block is the schedule's."""

    first: int
    blocks: int
    height: Extent
    tiles: Extent
    open: bool = False


def bands(op: WinogradOp) -> list[Band]:
    """Whole blocks, and the rows that are left."""
    (_, height, width, _), m, rows = shape_of(op.result), op.tile.value.data, op.rows.value.data
    if not isinstance(height, int) or not isinstance(width, int):
        return [Band(0, 1, height, dims.ceildiv(height, m), open=True)]
    blocks, rest = divmod(height, rows * m)
    whole = [Band(0, blocks, rows * m, rows)] if blocks else []
    return [*whole, Band(blocks * rows * m, 1, rest, -(-rest // m))] if rest or not blocks else whole


class Blocks:
    """How the loops of a kernel run through the result [n, h, w, o] of an op: by blocks of images and rows, and panels of channels."""

    def __init__(self, op: WinogradOp, band: Band):
        self.op, self.band = op, band
        self.m, self.images, self.shares = (p.value.data for p in (op.tile, op.images, op.shares))
        panels, _, self.inputs, self.width = (int(e) for e in shape_of(op.weight))  # type: ignore[arg-type]
        self.a, self.panels = self.m + TAPS - 1, panels // self.shares
        batch, _, self.columns, _ = shape_of(op.result)
        self.across = dims.ceildiv(self.columns, self.m)  # tiles beside each other
        batch = batch if self.images == 1 else dims.floordiv(batch, self.images)
        rows: Extents = {"ty": band.tiles} if band.open else {"band": band.blocks}
        self.lead: Extents = {"block": batch, **rows, "share": self.shares}
        self.tile = ("image", "tx") if band.open else ("image", "ty", "tx")

    def loops(self, names: Sequence[str]) -> Extents:
        """Those of an element-wise op on the result; `names` run through a block along its axes."""
        n, h, w, o = names
        lead = {name: extent for name, extent in self.lead.items() if name != "ty"}
        return {**lead, "panel": self.panels, n: self.images, h: self.band.height, w: self.columns, o: self.width}

    def at(self, names: Sequence[str]) -> Access:
        """Where that op stands."""
        n, h, w, o = (L(name) for name in names)
        return self._image(n), self._row(h), w, self._channel(o)

    def _image(self, inside: Affine) -> Affine:
        return Affine({"block": self.images}) + inside

    def _row(self, inside: Affine) -> Affine:
        if self.band.open:
            return inside
        assert isinstance(self.band.tiles, int)
        return Affine({"band": self.band.tiles * self.m}, self.band.first) + inside

    def _channel(self, inside: Affine) -> Affine:
        return Affine({"share": self.panels * self.width, "panel": self.width}) + inside

    def steps(self, draft: Draft, x: Memory, weight: Memory, names: Sequence[str]) -> Memory:
        """Append the ops; the memory that has the result in the end, rounded up to whole tiles."""
        o = names[3]
        of_block = self.images * self.band.tiles * self.across
        tiles = {"image": self.images, "ty": self.band.tiles, "tx": self.across, "px": self.across, "p": of_block}
        channels = {"panel": self.panels, o: self.width, "c": self.inputs, "k": self.inputs}
        points = {
            **dict.fromkeys("abdefhrsu", self.a),
            "xi": self.a,
            "nu": self.a,
            "t": self.a**2,
            **dict.fromkeys("ijq", self.m),
        }
        steps = _Steps(draft, {**self.lead, **tiles, **channels, **points})
        transformed = self._there(steps, x)
        return self._back(steps, self._products(steps, transformed, weight, o), o)

    def _there(self, steps: _Steps, x: Memory) -> Read:
        """The transformed tiles, V [t, p, k]."""
        factors = [steps.draft.constant(factor, "BT") for factor in transforms(self.m)[0]]
        source = self._image(L("image")), self._row(L("ty") * self.m + "a"), L("tx") * self.m + "b", L("c")
        inner = (*self.lead, *self.tile, "c")
        half = steps.transform("half", factors, (x, source), "a", ("e", "d"), "b", inner)
        v = steps.transform("v", factors, (half, ("h", "xi", *inner)), "h", ("f", "nu"), "xi", inner)
        apart = spread(self.inputs)
        kept = steps.temporary("V", [steps.extents[self._spot], *self.lead.values(), self.a**2 * apart])
        to = Affine({"xi": self.a * apart, "nu": apart, "c": 1})
        steps.store(v, ("xi", "nu", *inner), kept, (self._place, *self.lead, to))
        return kept, (self._spot, *self.lead, Affine({"t": apart, "k": 1}))

    def _products(self, steps: _Steps, transformed: Read, weight: Memory, o: str) -> Read:
        """What they are multiplied to, M [r, s, p, o]."""
        whole = ("t", *self.lead, "panel", self._spot, o)
        windows = (Affine({"share": self.panels, "panel": 1}), "t", "k", o)
        total = steps.sum("sum", whole, "k", transformed, (weight, windows))
        apart = spread(self.width)
        shape = [steps.extents[self._spot], *self.lead.values(), self.panels, self.a**2 * apart]
        kept = steps.temporary("M", shape)
        steps.store(total, whole, kept, (self._spot, *self.lead, "panel", Affine({"t": apart, o: 1})))
        return kept, (self._place, *self.lead, "panel", Affine({"r": self.a * apart, "s": apart, o: 1}))

    def _back(self, steps: _Steps, products: Read, o: str) -> Memory:
        """The outputs."""
        factors = [steps.draft.constant(factor, "AT") for factor in transforms(self.m)[1]]
        inner = (*self.lead, "panel", *self.tile, o)
        half = steps.transform("back", factors, products, "r", ("e", "q"), "s", inner)
        y = steps.transform("y", factors, (half, ("u", "i", *inner)), "u", ("f", "j"), "i", inner)
        height, channels = self.band.blocks * self.band.tiles * self.m, self.shares * self.panels * self.width
        acc = steps.temporary("acc", [shape_of(self.op.result)[0], height, self.across * self.m, channels])
        acc.holds = ((0, 1), (self.band.first, 1), (0, 1), (0, 1))
        at = self._image(L("image")), self._row(L("ty") * self.m + "i"), L("tx") * self.m + "j", self._channel(L(o))
        steps.store(y, ("i", "j", *inner), acc, acc.place(at))
        return acc

    @property
    def _spot(self) -> str:
        """The loop of products that runs through the tiles of a block, or of a row of it."""
        return "px" if self.band.open else "p"

    @property
    def _place(self) -> Affine:
        """Of a tile among those."""
        if self.band.open:
            return L("tx")
        assert isinstance(self.band.tiles, int) and isinstance(self.across, int)
        return Affine({"image": self.band.tiles * self.across, "ty": self.across, "tx": 1})


def spread(elements: int) -> int:
    """At least so many, an odd number of lines of a cache: what lies that far apart falls on all of its sets in turn."""
    return (-(-elements // LINE) | 1) * LINE


class _Steps:
    """Appends ops to a draft, given the extents of all loops that there are."""

    def __init__(self, draft: Draft, extents: Extents):
        self.draft, self.extents = draft, extents

    def temporary(self, name: str, shape: Sequence[Extent]) -> Memory:
        return self.draft.memory(shape, "f32", name, temporary=True)

    def sum(self, name: str, at: Sequence[str], over: str, left: Read, right: Read) -> Memory:
        """A temporary with a loop per axis: the sum over a loop of products."""
        made = self.temporary(name, [self.extents[axis] for axis in at])
        self._append(at, [], (made, at), lambda c, b, xs, out: scalar.constant(b, "f32", 0.0))
        self._append((*at, over), [left, right], (made, at), _multiply_add, {over})
        return made

    def transform(
        self,
        name: str,
        factors: Sequence[Memory],
        source: Read,
        over: str,
        to: Sequence[str],
        other: str,
        inner: Sequence[str],
    ) -> Memory:
        """A temporary [other, to, *inner]: the source multiplied along a loop by one or two matrices, the last first."""
        for factor, axis in zip(reversed(factors), to[-len(factors) :], strict=True):
            at = (other, axis, *inner)
            source, over = (self.sum(name, at, over, (factor, (axis, over)), source), at), axis
        return source[0]

    def store(self, source: Memory, at: Sequence[str], target: Memory, to: Sequence[Affine | str]) -> None:
        """target[to] = source[at]"""
        self._append(at, [(source, at)], (target, to), lambda c, b, xs, out: xs[0])

    def _append(
        self, loops: Sequence[str], inputs: Sequence[Read], output: Read, body: Scalar, reduce: set[str] | None = None
    ) -> None:
        operands = [(memory, tuple(affine(index) for index in access)) for memory, access in (*inputs, output)]
        extents = {name: self.extents[name] for name in loops}
        self.draft.steps.append(DraftOp(extents, operands[:-1], operands[-1], body, reduce or set()))


def _multiply_add(context: Context, b: Body, xs: Sequence[SSAValue], out: SSAValue) -> SSAValue:
    return b.insert(arith.AddfOp(out, b.insert(arith.MulfOp(xs[0], xs[1])).result)).result
