"""What the native entry function of a module expects, as plain data: it travels with the objects, and needs no IR to be used.

    void entry(const int64_t *sizes, char *arena, void **io)

io      one pointer per input, one per output (not looked at where it lives in an input), then one to the table of weights (a pointer each)
sizes   scratch bytes per thread | values of `sizes` | helper threads of each of `launches` | arena offset of each of `buffers`
arena   first the scratch memory of each thread, then the buffers at their offsets

The symbols of an expression are the module's. A symbol in `counted` is known only while the entry runs: the entry writes it, and
all that depends on it, into the table, which then belongs to one call. Its bound gives the memory.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mlc.ir.dims import Dim, Extent
from mlc.ir.dtypes import TABLE
from mlc.ir.indexing import IndexRange
from mlc.ir.kernel.places import Argument, argument_of, argument_row
from mlc.ir.kernel.places import extent_of as _extent
from mlc.ir.kernel.places import extent_row as _text
from mlc.ir.kernel.steering import Steered, steered_of, steered_row

ALIGNMENT = 64
# Behind every buffer: kernels read whole vectors, the last of which may begin at the last element.
GUARD = 64
# Bytes that a call must touch for each thread that takes part, at least: what a core gets through while a launch starts, 1 to 2 us. The
# runtime asks for more where launches are measured to cost more.
GRAIN = 16 << 10


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a module. An output may live in the memory of the input `alias`, which a call then updates; or begin with the
    input `front`, whose memory is then the front of its own, so that the entry writes what is behind."""

    name: str
    dtype: str
    shape: tuple[Extent, ...]
    alias: str | None = None
    front: str | None = None


@dataclass(frozen=True)
class Lifetime:
    """A buffer of the arena: its size and the first and last step of the program that touch it."""

    bytes: Extent
    first: int
    last: int


@dataclass(frozen=True)
class Launch:
    """A call that threads may share: bytes it touches and tiles it can be cut into; both decide how many take part."""

    bytes: Extent
    tiles: Extent


@dataclass(frozen=True)
class Step:
    """One call of a kernel: its name, the nodes of the user's model that it computes, its place on the clock of lifetimes, and what it gets.

    arguments  what the kernel gets, in order, but for a range of tiles
    tiles      into how many tiles it can be cut; None where it cannot, or where only @main knows on its way
    launch     the number among the plan's `launches`, where tiles can be shared
    scratch    bytes that each share of the call needs
    """

    kernel: str
    source: tuple[str, ...] = ()
    at: int = 0
    arguments: tuple[Argument, ...] = ()
    tiles: Extent | None = None
    launch: int | None = None
    scratch: Extent = 0


@dataclass(frozen=True)
class Copy:
    """So many bytes from one memory to another, at a place on the clock of lifetimes."""

    target: Argument
    source: Argument
    bytes: Extent
    at: int


@dataclass(frozen=True)
class Equality:
    """Two extents that must agree at call time; `message` says who asks."""

    lhs: Extent
    rhs: Extent
    message: str = ""

    @property
    def symbols(self) -> frozenset[str]:
        return _symbols(self.lhs) | _symbols(self.rhs)


@dataclass(frozen=True)
class Plan:
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    weights: tuple[str, ...] = ()
    sizes: tuple[Extent, ...] = ()
    launches: tuple[Launch, ...] = ()
    buffers: tuple[Lifetime, ...] = ()
    scratch: tuple[Extent, ...] = ()
    steps: tuple[Step, ...] = ()
    symbols: Mapping[str, tuple[int, int | None]] = field(default_factory=dict)
    checks: tuple[Equality, ...] = ()
    counted: Mapping[str, Extent] = field(default_factory=dict)
    indices: tuple[IndexRange, ...] = ()  # what is tested of the values of inputs before the entry runs
    state: Mapping[str, str | None] = field(
        default_factory=dict
    )  # inputs kept between calls -> the output that follows, as a package was saved
    copies: tuple[Copy, ...] = ()
    straight: bool = (
        False  # whether steps and copies, one after the other, are all that a call does: no loops, branches, counts
    )
    steered: Steered | None = None  # what a call does where it is not

    @property
    def sequence(self) -> list[Step | Copy]:
        """Steps and copies in the order of @main: what a call does where the plan is straight."""
        return sorted([*self.steps, *self.copies], key=lambda item: item.at)

    def without_calls(self) -> Plan:
        """The plan of code that has the calls in itself: names, nodes and times are left of its steps."""
        steps = tuple(Step(step.kernel, step.source, step.at) for step in self.steps)
        return replace(self, steps=steps, copies=(), straight=False, steered=None)

    @property
    def aliases(self) -> dict[int, int]:
        """Number of an output -> number of the input it lives in."""
        numbers = {spec.name: number for number, spec in enumerate(self.inputs)}
        return {n: numbers[spec.alias] for n, spec in enumerate(self.outputs) if spec.alias is not None}

    @property
    def fronts(self) -> dict[int, int]:
        """Number of an output -> number of the input that its memory begins with."""
        numbers = {spec.name: number for number, spec in enumerate(self.inputs)}
        return {n: numbers[spec.front] for n, spec in enumerate(self.outputs) if spec.front is not None}

    @property
    def late_checks(self) -> list[Equality]:
        """The checks that wait for something counted, in the order in which a run comes to them; it stops at the first that fails."""
        order = {name: number for number, name in enumerate(self.counted)}
        last = {check: max((order.get(s, -1) for s in check.symbols), default=-1) for check in self.checks}
        return sorted((check for check in self.checks if last[check] >= 0), key=last.__getitem__)

    def to_json(self) -> dict[str, Any]:
        def tensors(specs: tuple[TensorSpec, ...]) -> list[dict[str, Any]]:
            return [
                {"name": t.name, "dtype": t.dtype, "shape": [_text(e) for e in t.shape]}
                | ({} if t.alias is None else {"alias": t.alias})
                | ({} if t.front is None else {"front": t.front})
                for t in specs
            ]

        return {
            "inputs": tensors(self.inputs),
            "outputs": tensors(self.outputs),
            "weights": list(self.weights),
            "sizes": [_text(e) for e in self.sizes],
            "launches": [[_text(item.bytes), _text(item.tiles)] for item in self.launches],
            "buffers": [[_text(item.bytes), item.first, item.last] for item in self.buffers],
            "scratch": [_text(e) for e in self.scratch],
            "steps": [_step_row(step) for step in self.steps],
            "copies": [
                [argument_row(item.target), argument_row(item.source), _text(item.bytes), item.at]
                for item in self.copies
            ],
            "straight": self.straight,
            "symbols": {name: list(bounds) for name, bounds in self.symbols.items()},
            "checks": [[_text(check.lhs), _text(check.rhs), check.message] for check in self.checks],
            "counted": {name: _text(bound) for name, bound in self.counted.items()},
            "indices": [each.to_text() for each in self.indices],
            "state": dict(self.state),
            "steered": None if self.steered is None else steered_row(self.steered),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        """Raises KeyError, TypeError or ValueError for what to_json did not write."""

        def tensors(items: list[dict[str, Any]]) -> tuple[TensorSpec, ...]:
            return tuple(
                TensorSpec(t["name"], t["dtype"], tuple(_extent(e) for e in t["shape"]), t.get("alias"), t.get("front"))
                for t in items
            )

        inputs, outputs = tensors(data["inputs"]), tensors(data["outputs"])
        known = {spec.name for spec in inputs}
        if lost := [name for t in outputs for name in (t.alias, t.front) if name is not None and name not in known]:
            raise ValueError(f"a result lives in the input {lost[0]!r}, which is not there")
        found = cls(
            inputs,
            outputs,
            tuple(data["weights"]),
            tuple(_extent(e) for e in data["sizes"]),
            tuple(Launch(_extent(b), _extent(t)) for b, t in data["launches"]),
            tuple(Lifetime(_extent(b), int(first), int(last)) for b, first, last in data["buffers"]),
            tuple(_extent(e) for e in data["scratch"]),
            tuple(_step(*row) for row in data["steps"]),
            {name: (int(low), None if high is None else int(high)) for name, (low, high) in data["symbols"].items()},
            tuple(Equality(_extent(lhs), _extent(rhs), message) for lhs, rhs, message in data["checks"]),
            {name: _extent(bound) for name, bound in data["counted"].items()},
            tuple(IndexRange.from_text(row) for row in data.get("indices", ())),
            dict(data["state"]),
            tuple(
                Copy(argument_of(target), argument_of(source), _extent(bytes), int(at))
                for target, source, bytes, at in data["copies"]
            ),
            bool(data["straight"]),
            None if data.get("steered") is None else steered_of(data["steered"]),
        )
        found._require_sound()
        return found

    def _require_sound(self) -> None:
        """Raises ValueError where parts of a plan that somebody wrote speak of what is not there."""
        names = [*(spec.name for spec in (*self.inputs, *self.outputs)), *self.weights, *self.symbols, *self.state]
        if strange := [name for name in names if not isinstance(name, str)]:
            raise ValueError(f"{strange[0]!r} is no name")
        if len({spec.name for spec in self.inputs}) < len(self.inputs):
            raise ValueError("two inputs have one name")
        if unknown := [spec.dtype for spec in (*self.inputs, *self.outputs) if spec.dtype not in TABLE]:
            raise ValueError(f"there is no dtype {unknown[0]!r}")
        for low, high in self.symbols.values():
            if low < 0 or (high is not None and high < low):
                raise ValueError(f"a size has the bounds {low} and {high}")
        told = {symbol for spec in self.inputs for e in spec.shape for symbol in _symbols(e)}
        for name, bound in self.counted.items():
            _require_told([bound], told)
            told.add(name)
        _require_told(self._extents(), told)
        for each in self.indices:
            if each.input not in {spec.name for spec in self.inputs} or not each.symbols <= told:
                raise ValueError(f"positions are tested of {each.input!r}, which is no input")
        outputs = {spec.name for spec in self.outputs}
        for kept, following in self.state.items():
            if kept not in {spec.name for spec in self.inputs} or following not in (None, *outputs):
                raise ValueError(f"the input {kept!r} is kept between calls, and is not there")
        if any(step.launch is not None and not 0 <= step.launch < len(self.launches) for step in self.steps):
            raise ValueError("a step is of a launch that is not there")

    def _extents(self) -> Iterator[Extent]:
        """All that a call evaluates."""
        yield from self.sizes
        yield from self.scratch
        yield from (e for spec in self.outputs for e in spec.shape)
        yield from (e for launch in self.launches for e in (launch.bytes, launch.tiles))
        yield from (life.bytes for life in self.buffers)
        yield from (copy.bytes for copy in self.copies)
        yield from (e for check in self.checks for e in (check.lhs, check.rhs))
        yield from (e for step in self.steps for e in (step.tiles, step.scratch) if e is not None)


def _symbols(extent: Extent) -> frozenset[str]:
    return extent.symbols() if isinstance(extent, Dim) else frozenset()


def _require_told(extents: Iterable[Extent], told: Collection[str]) -> None:
    for extent in extents:
        if not _symbols(extent) <= set(told):
            raise ValueError(f"no input tells the size {extent}")


def _step_row(step: Step) -> list[Any]:
    """A step that does not say what its kernel gets is three items."""
    row: list[Any] = [step.kernel, list(step.source), step.at]
    if step.arguments:
        tiles = None if step.tiles is None else _text(step.tiles)
        row += [[argument_row(item) for item in step.arguments], tiles, step.launch, _text(step.scratch)]
    return row


def _step(
    kernel: str,
    source: list[str],
    at: int,
    arguments: Sequence[Any] = (),
    tiles: int | str | None = None,
    launch: int | None = None,
    scratch: int | str = 0,
) -> Step:
    return Step(
        kernel,
        tuple(source),
        int(at),
        tuple(map(argument_of, arguments)),
        None if tiles is None else _extent(tiles),
        None if launch is None else int(launch),
        _extent(scratch),
    )
