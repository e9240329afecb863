"""From the shapes of one call to the table of sizes: symbols are solved, checked, and the arena is laid out.

    Binder(plan, threads).bind(((2, 17), (2, 17)))  ->  Binding(table, arena bytes, shapes of outputs)

A binding costs about 0.3 ms for 200 buffers and is kept, the 64 latest of them, so that memory stays bounded whatever comes.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from threading import Lock

import numpy as np

from mlc.errors import MlcError, ShapeError
from mlc.ir import dims
from mlc.ir.dims import Dim, Extent
from mlc.ir.kernel.arena_layout import Layout, aligned, reserved
from mlc.ir.kernel.plan import GRAIN, Equality, Plan, TensorSpec
from mlc.runtime.arrays import DTYPES
from mlc.runtime.indices import Positions, positions

KEPT = 64

Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, eq=False)
class Binding:
    """One set of sizes: the table for the entry function, and the memory that a call needs. Two are never equal: machines keep what they make
    for one by it.

    sizes    values of the plan's sizes; 0 for those that a run counts
    tiles    of each of the plan's launches
    offsets  of each of its buffers in the arena, behind the scratch memory
    """

    symbols: dict[str, int]
    table: ctypes.Array[ctypes.c_int64]
    address: int  # of the table
    arena: int  # bytes
    outputs: tuple[tuple[tuple[int, ...], np.dtype, int], ...]  # shape, dtype, bytes of memory of their own
    positions: tuple[Positions, ...] = ()  # what is tested of the values of inputs
    threads: int = 1  # that work in the launch that most of them share
    sizes: tuple[int, ...] = ()
    tiles: tuple[int, ...] = ()
    offsets: tuple[int, ...] = ()
    scratch: int = 0  # bytes that each thread has, the first of them at the start of the arena


@dataclass(frozen=True)
class BufferUse:
    """A buffer of the arena in one call: where it begins and its bytes, the first and the last place on the clock of the plan's steps that touch
    it, and the steps of the plan that write and that read it."""

    offset: int
    bytes: int
    first: int
    last: int
    makers: tuple[int, ...] = ()
    readers: tuple[int, ...] = ()


@dataclass(frozen=True)
class MemoryUse:
    """Bytes of one call: the arena, what is alive at once at most and in which step of the plan, the outputs; the part of the arena that threads
    work with; the weights, which all calls share; and each buffer of the arena."""

    arena: int
    peak: int
    step: int | None
    outputs: int
    weights: int = 0
    scratch: int = 0
    lifetimes: tuple[BufferUse, ...] = ()

    @property
    def buffers(self) -> int:
        """The part of the arena that holds intermediate results: what a memory budget is for."""
        return self.arena - self.scratch

    @property
    def call(self) -> int:
        """What a call adds to the process at most: arena and outputs. Inputs that are not read in place add their own size."""
        return self.arena + self.outputs

    @property
    def total(self) -> int:
        """The most that a first call takes beside the process itself: all weights, arena, outputs."""
        return self.weights + self.call


class Binder:
    """Makes bindings of a plan for calls that may use up to `threads` threads; each that takes part in a launch has `grain` bytes to touch."""

    def __init__(self, plan: Plan, threads: int = 1, grain: int = GRAIN):
        self.plan = plan
        self.threads = threads
        self.grain = grain
        self.made = 0
        self.kept: dict[Shapes, Binding] = {}  # by shapes, oldest first
        self._lock = Lock()
        self.solver = Solver(plan.inputs, plan)
        bound = plan.counted
        wanted: list[Extent] = [
            *(0 if _counted(e, plan) else e for e in plan.sizes),
            *(dims.ceiling(e, bound) for item in plan.launches for e in (item.bytes, item.tiles)),
            *(life.bytes for life in plan.buffers),
            *(dims.ceiling(e, bound) for e in plan.scratch),
            *(dims.ceiling(e, bound) for spec in plan.outputs for e in spec.shape),
        ]
        self._evaluate = dims.evaluator(wanted, self.solver.symbols)
        self._layout = Layout([(life.first, life.last) for life in plan.buffers])
        self._dtypes = [DTYPES[spec.dtype][0] for spec in plan.outputs]

    def bind(self, shapes: Shapes) -> Binding:
        """The binding for inputs of these shapes. Raises ShapeError, naming input and axis, where they do not fit the module."""
        found = self.kept.get(shapes)
        if found is not None:
            return found
        binding = self._make(self.solver.solve(shapes))
        with self._lock:
            self.made += 1
            self.kept[shapes] = binding
            while len(self.kept) > KEPT:
                del self.kept[next(iter(self.kept))]
        return binding

    def _make(self, symbols: dict[str, int]) -> Binding:
        plan = self.plan
        try:
            values = iter(self._evaluate(*(symbols[name] for name in self.solver.symbols)))
        except ZeroDivisionError:
            raise ShapeError(f"a size is divided by zero at {_text(symbols)}") from None
        sizes = [next(values) for _ in plan.sizes]
        launches = [(next(values), next(values)) for _ in plan.launches]
        buffers = [next(values) for _ in plan.buffers]
        scratch = max((next(values) for _ in plan.scratch), default=0)
        outputs = tuple(tuple(next(values) for _ in spec.shape) for spec in plan.outputs)
        for spec, shape in zip(plan.outputs, outputs, strict=True):
            if min(shape, default=0) < 0 or prod(e for e in shape if e) >= 1 << 60:
                raise ShapeError(f"output '{spec.name}' would have the shape {list(shape)} at {_text(symbols)}")
        if min(buffers, default=0) < 0:
            raise ShapeError(f"an intermediate size is negative at {_text(symbols)}")
        memory = tuple(
            (shape, dtype, prod(shape) * dtype.itemsize if spec.alias is None else 0)
            for shape, dtype, spec in zip(outputs, self._dtypes, plan.outputs, strict=True)
        )
        scratch = aligned(scratch)
        own = scratch * self.threads
        offsets, top = self._layout.offsets([reserved(size) for size in buffers])
        arena = own + top
        self._check_memory(arena, sum(bytes for _, _, bytes in memory), symbols)
        helpers = [max(0, min(self.threads, tiles, bytes // self.grain) - 1) for bytes, tiles in launches]
        places = tuple(own + offset for offset in offsets)
        numbers = [scratch, *sizes, *helpers, *places]
        if max(numbers) >= 1 << 63:  # of tensors without elements; others do not fit into memory
            raise ShapeError(f"a size is beyond 64 bits at {_text(symbols)}")
        table = (ctypes.c_int64 * len(numbers))(*numbers)
        tested, threads = positions(plan, symbols), 1 + max(helpers, default=0)
        tiles = tuple(count for _, count in launches)
        return Binding(
            symbols,
            table,
            ctypes.addressof(table),
            arena,
            memory,
            tested,
            threads,
            tuple(sizes),
            tiles,
            places,
            scratch,
        )

    def memory(self, symbols: Mapping[str, int]) -> MemoryUse:
        """What a call at these sizes takes. Raises ShapeError where they do not fit the module."""
        known = f"Sizes: {', '.join(self.solver.symbols) or 'none'}."
        if unknown := [name for name in symbols if name not in self.solver.symbols]:
            raise ShapeError(f"there is no size {unknown[0]}", remedy=known)
        if missing := [name for name in self.solver.symbols if name not in symbols]:
            raise ShapeError(f"the size {missing[0]} is not given", remedy=known)
        found = {name: symbols[name] for name in self.solver.symbols}
        binding = self._make(found)
        sizes = [dims.evaluate(life.bytes, found) for life in self.plan.buffers]
        live = [
            (sum(s for s, b in zip(sizes, self.plan.buffers, strict=True) if b.first <= step.at <= b.last), number)
            for number, step in enumerate(self.plan.steps)
        ]
        peak, number = max(live, key=lambda item: (item[0], -item[1]), default=(0, None))
        outputs = sum(count for _, _, count in binding.outputs)
        lifetimes = tuple(
            BufferUse(offset, size, life.first, life.last)
            for offset, size, life in zip(binding.offsets, sizes, self.plan.buffers, strict=True)
        )
        return MemoryUse(
            binding.arena, peak, number, outputs, scratch=binding.scratch * self.threads, lifetimes=lifetimes
        )

    def _check_memory(self, arena: int, outputs: int, symbols: dict[str, int]) -> None:
        have = _memory()
        if arena + outputs > have:
            raise MlcError(
                f"this call needs {_size(arena + outputs)} at {_text(symbols)}, the machine has {_size(have)}",
                remedy=f"Activations take {_size(arena)}, outputs {_size(outputs)}. Call it with smaller inputs.",
            )


class Solver:
    """Finds the symbols in the shapes of inputs, then tests everything the module says of them."""

    def __init__(self, inputs: Sequence[TensorSpec], plan: Plan):
        self.inputs = inputs
        self.bounds = plan.symbols
        self.counted = plan.counted
        self.late = plan.late_checks
        self.checks = [check for check in plan.checks if check not in self.late]
        self.symbols: list[str] = []
        self.sources: dict[str, tuple[str, int]] = {}  # symbol -> input, axis
        self._tests: list[tuple[int, int, Extent]] = []  # input, axis, what it must be
        self._steps: list[tuple[int, int, str, Extent, Extent]] = []
        self._order(plan)
        every = [e for _, _, e in self._tests] + [e for check in self.checks for e in (check.lhs, check.rhs)]
        self._expected = dims.evaluator(every, self.symbols)

    def _order(self, plan: Plan) -> None:
        """Which axis gives which symbol: bare symbols first, then expressions with one unknown, linear in it."""
        waiting = [(i, axis, e) for i, spec in enumerate(self.inputs) for axis, e in enumerate(spec.shape)]
        waiting.sort(key=lambda item: not _is_symbol(item[2]))  # stable: in the order of the signature
        progress = True
        while waiting and progress:
            progress, later = False, []
            for i, axis, extent in waiting:
                unknown = [s for s in _symbols(extent) if s not in self.sources]
                parts = _linear(extent, unknown[0]) if len(unknown) == 1 else None
                if not unknown:
                    self._tests.append((i, axis, extent))
                elif parts is None:
                    later.append((i, axis, extent))
                    continue
                else:
                    factor, rest = parts
                    self._steps.append((i, axis, unknown[0], factor, rest))
                    self.symbols.append(unknown[0])
                    self.sources[unknown[0]] = self.inputs[i].name, axis
                progress = True
            waiting = later
        for i, axis, extent in waiting:
            raise ShapeError(
                f"input '{self.inputs[i].name}': axis {axis} is {extent}, which does not tell its symbols",
                remedy="Give one of them a size of its own (--dim NAME=SIZE), or an input whose axis is just that symbol.",
            )
        used = {s for e in [*plan.sizes, *(e for spec in plan.outputs for e in spec.shape)] for s in _symbols(e)}
        for name in sorted(used - set(self.symbols) - set(plan.counted)):
            raise ShapeError(f"no input tells the size {name}", remedy=f"Fix it: --dim {name}=SIZE.")

    def solve(self, shapes: Shapes) -> dict[str, int]:
        for spec, shape in zip(self.inputs, shapes, strict=True):
            if len(shape) != len(spec.shape):
                raise ShapeError(
                    f"input '{spec.name}' has {len(spec.shape)} axes, the array has {len(shape)}",
                    shapes=[(spec.name, spec.name, f"{spec.dtype}{_shape_text(spec.shape)}", "model")],
                    remedy=f"The array's shape is {list(shape)}.",
                )
        found: dict[str, int] = {}
        for i, axis, name, factor, rest in self._steps:
            value = shapes[i][axis]
            by, less = dims.evaluate(factor, found), dims.evaluate(rest, found)
            size, left = divmod(value - less, by) if by else (0, 1)
            if left or size < 0:
                spec = self.inputs[i]
                raise ShapeError(
                    f"{spec.name}: axis {axis} is {value}, which {spec.shape[axis]} cannot be{self._given(found)}"
                )
            found[name] = size
        self._test(shapes, found)
        return found

    def _test(self, shapes: Shapes, found: dict[str, int]) -> None:
        for name, size in found.items():
            low, high = self.bounds.get(name, (0, None))
            if size < low or (high is not None and size > high):
                limit = f"{low}..{'' if high is None else high}"
                raise ShapeError(f"{name} is {size} (from {self._source(name)}), outside of its bounds {limit}")
        try:
            values = iter(self._expected(*(found[name] for name in self.symbols)))
        except ZeroDivisionError:
            raise ShapeError(f"a size is divided by zero at {_text(found)}") from None
        for i, axis, extent in self._tests:
            want, have = next(values), shapes[i][axis]
            if want != have:
                spec = self.inputs[i]
                if isinstance(extent, int):
                    raise ShapeError(f"{spec.name}: axis {axis} is {have}, the model takes {want}")
                raise ShapeError(f"{spec.name}: axis {axis} is {have}, but {extent} is {want}{self._origin(extent)}")
        for check in self.checks:
            lhs, rhs = next(values), next(values)
            if lhs != rhs:
                raise ShapeError(self._violated(check, lhs, rhs, found))

    def test_counted(self, found: dict[str, int]) -> None:
        """Raises ShapeError for the first check that a run's counts break: there it stopped."""
        for check in self.late:
            lhs, rhs = dims.evaluate(check.lhs, found), dims.evaluate(check.rhs, found)
            if lhs != rhs:
                raise ShapeError(self._violated(check, lhs, rhs, found))

    def _violated(self, check: Equality, lhs: int, rhs: int, found: dict[str, int]) -> str:
        who = f" ({check.message})" if check.message else ""
        if multiple := _multiple(check):
            name, k = multiple
            source = f" (from {self._source(name)})" if name in self.sources else ""
            return f"{name} must be a multiple of {k}{who}: {name} is {found[name]}{source}"
        at = {s: found[s] for e in (check.lhs, check.rhs) for s in sorted(_symbols(e))}
        sources = ", ".join(f"{name} = {size} from {self._source(name)}" for name, size in at.items())
        if bound := _bound(check):
            extent, word, limit = bound
            worth = f", which is {dims.evaluate(limit, found)}" if isinstance(limit, Dim) else ""
            return f"{extent} is {dims.evaluate(extent, found)}, but must be {word} {limit}{worth}{who}: {sources}"
        worth = f", which is {rhs}" if isinstance(check.rhs, Dim) else ""
        return f"{check.lhs} is {lhs}, but must equal {check.rhs}{worth}{who}: {sources}"

    def _source(self, name: str) -> str:
        if name in self.counted:
            return "the data"
        source, axis = self.sources[name]
        return f"{source} axis {axis}"

    def _origin(self, extent: Extent) -> str:
        names = sorted(_symbols(extent))
        if len(names) == 1 and _is_symbol(extent):
            return f" (from {self._source(names[0])})"
        return f" ({', '.join(f'{name} from {self._source(name)}' for name in names)})"

    def _given(self, found: dict[str, int]) -> str:
        return f" at {_text(found)}" if found else ""


def _symbols(extent: Extent) -> frozenset[str]:
    return extent.symbols() if isinstance(extent, Dim) else frozenset()


def _counted(extent: Extent, plan: Plan) -> bool:
    return bool(plan.counted) and not _symbols(extent).isdisjoint(plan.counted)


def _is_symbol(extent: Extent) -> bool:
    return (
        isinstance(extent, Dim) and len(extent.symbols()) == 1 and extent == dims.symbol(next(iter(extent.symbols())))
    )


def _linear(extent: Extent, name: str) -> tuple[Extent, Extent] | None:
    """(factor, rest) with extent = factor * name + rest, neither with `name` in it; None where it is not linear."""
    rest = dims.substitute(extent, {name: 0})
    factor = dims.substitute(extent, {name: 1}) - rest
    linear = name not in _symbols(factor) and factor * dims.symbol(name) + rest == extent
    return (factor, rest) if linear and factor != 0 else None


def _multiple(check: Equality) -> tuple[str, int] | None:
    """(H, 4) for H == 4*(H//4)."""
    for whole, cut in ((check.lhs, check.rhs), (check.rhs, check.lhs)):
        if _is_symbol(whole) and isinstance(cut, Dim) and len(cut.terms) == 1:
            k = cut.terms[0][1]
            if cut == whole // k * k:
                return str(whole), k
    return None


def _bound(check: Equality) -> tuple[Extent, str, Extent] | None:
    """(N, "at least", 3) for min(3, N) == 3, (S, "at most", 64) for max(64, S) == 64 and for min(64, S) == S."""
    for extreme, limit in ((check.lhs, check.rhs), (check.rhs, check.lhs)):
        for function, words in ((dims.dmin, ("at least", "at most")), (dims.dmax, ("at most", "at least"))):
            call = extreme.terms[0][0][0] if isinstance(extreme, Dim) and extreme.terms[0][0] else None
            args: tuple[Extent, ...] = getattr(call, "args", ())
            if len(args) != 2 or limit not in args or extreme != function(*args):
                continue
            other = args[0] if args[1] == limit else args[1]
            return (limit, words[1], other) if isinstance(other, int) else (other, words[0], limit)
    return None


def _shape_text(shape: Sequence[Extent]) -> str:
    return "[" + ", ".join(map(str, shape)) + "]"


def _text(symbols: dict[str, int]) -> str:
    return ", ".join(f"{name} = {size}" for name, size in symbols.items()) or "these sizes"


def _size(count: int) -> str:
    value: float = count
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            return f"{value:.3g} {unit}" if value < 1e6 else f"{value:.3e} {unit}"
        value /= 1024
    raise AssertionError


@cache
def _memory() -> int:
    """Bytes of memory this machine has, or its container."""
    have = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            with open(path) as file:
                text = file.read().strip()
        except OSError:
            continue
        if text.isdigit():
            have = min(have, int(text))
    return have
