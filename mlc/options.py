"""What a caller may ask of one compilation: one frozen dataclass, the same for Python and the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from numbers import Integral
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from mlc.backends import require_backend
from mlc.errors import MlcError
from mlc.ir.variants import Variant, as_variant

if TYPE_CHECKING:
    import numpy as np

    from mlc.ir.kernel.schedule_store import ScheduleStore
    from mlc.passes.base import Pass

Precision = Literal["f32", "tf32", "bf16", "f16"]
Denormals = Literal["flush", "keep"]
SETTINGS: Mapping[str, tuple[str, ...]] = {"winograd": ("auto", "off", "2", "4")}  # what each may be, the default first


@dataclass(frozen=True)
class DimRange:
    """Bounds of one symbolic dimension: low <= size <= high (None: no bound)."""

    low: int = 0
    high: int | None = None

    def __post_init__(self) -> None:
        for bound in (self.low, self.high):
            if bound is not None and not is_whole(bound):
                raise MlcError(f"{bound!r} is no bound of a size", remedy="Bounds are whole numbers, as in (1, 32).")
        if self.low < 0 or (self.high is not None and self.high < self.low):
            raise MlcError(f"the range {self} holds no size", remedy="Write low..high with 0 <= low <= high.")

    def __str__(self) -> str:
        return f"{self.low}..{'' if self.high is None else self.high}"


@dataclass(frozen=True)
class CompileOptions:
    """Options of `mlc.compile`.

    target           kind of machine to build for: "cpu" (native code through LLVM), or another backend that is registered
    arch             machine of that kind: "native", "x86-64-v3", ...; "native" is the machine at hand
    shapes           input name -> extents; a number fixes an axis, a name makes it (or keeps it) symbolic
    dims             symbol -> bounds; a plain number fixes the symbol, a pair (low, high) bounds it
    specialise       sizes that get code of their own beside the code for every size, each as {symbol: size}; a call runs the code
                     of the first whose sizes it has
    known            values of inputs that decide shapes (axes, sizes, a count): constants, which calls no longer give
    until            a node of an ONNX model, by its name, or one value: its outputs become the model's, the rest is left out
    threads          largest number of threads a call may use; None: MLC_NUM_THREADS, OMP_NUM_THREADS, else what the
                     process may use (affinity, container quota)
    opt_level        0 only lowers, 1 also simplifies and fuses, 2 does everything that keeps the arithmetic as written, but for
                     constant factors at products and convolutions in fewer products (Winograd), 3 also what changes rounding by a few units in the last place
    passes           graph passes in place of those that opt_level chooses: text, or a list of passes and their names; the name
                     "default" stands for those that it would choose
    disable_passes   names of passes to leave out
    memory_budget    bytes, or text as "200MiB", that intermediate results may take at the largest sizes: values are computed again where more
                     would be alive at once, which changes no bit of any result. Weights, outputs and what each thread works with come on top
    precision        lowest precision that may be used; nothing below f32 is used unasked
    keep_f32         names of nodes that stay in f32 when precision is lower
    check_indices    whether a call tests the values of inputs that are positions in a tensor (token ids, say) and refuses those out
                     of range; without, reading takes the nearest position and writing leaves the value out
    denormals        "flush": numbers below the smallest normal one (1.2e-38 in f32) count as 0, for CPUs are slow with them; "keep":
                     they are computed with
    cache            whether compiled objects and whole compilations are read from and written to the cache on disk
    verify_each      run the IR verifier after every pass
    tune_store       schedules that were measured to be faster than those of the rules (mlc.tune): the name of a file, a list of them, or a
                     ScheduleStore; where it has none for a kernel on the machine, the rules choose
    settings         further choices as name -> text. winograd: "auto", which computes 3 x 3 convolutions in fewer products where that is
                     faster; "off"; "2" or "4": wherever it can be done, with tiles of so many outputs along an axis
    """

    target: str = "cpu"
    arch: str = "native"
    shapes: Mapping[str, tuple[int | str, ...]] = field(default_factory=dict)
    dims: Mapping[str, DimRange] = field(default_factory=dict)
    specialise: tuple[Variant, ...] = ()
    known: Mapping[str, np.ndarray] = field(default_factory=dict)
    until: str | None = None
    threads: int | None = None
    opt_level: int = 2
    passes: str | tuple[Pass | str, ...] | None = None
    disable_passes: tuple[str, ...] = ()
    memory_budget: int | None = None
    precision: Precision = "f32"
    keep_f32: tuple[str, ...] = ()
    check_indices: bool = True
    denormals: Denormals = "flush"
    cache: bool = True
    verify_each: bool = False
    tune_store: ScheduleStore | None = None
    settings: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, **given: Any) -> Self:
        """Options from keyword arguments as a user writes them: None means the default, shapes and dims in their short forms."""
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(given) - known):
            raise MlcError(f"unknown compile option '{unknown[0]}'", remedy=f"Options: {', '.join(sorted(known))}.")
        given = {name: value for name, value in given.items() if value is not None}
        for name in _FORMS.keys() & given.keys():
            given[name] = _FORMS[name](name, given[name])
        return cls(**given)

    def __post_init__(self) -> None:
        require_backend(self.target)
        _one_of("precision", self.precision, get_args(Precision))
        _one_of("denormals", self.denormals, get_args(Denormals))
        if self.until is not None and not isinstance(self.until, str):
            raise MlcError(f"until is {self.until!r}", remedy="Give the name of a node, or of a value.")
        if not isinstance(self.settings, Mapping):
            raise MlcError(f"settings is {self.settings!r}", remedy="Give text per name.")
        for name, value in self.settings.items():
            if name not in SETTINGS:
                raise MlcError(f"there is no setting '{name}'", remedy=f"Settings: {', '.join(SETTINGS)}.")
            _one_of(f"setting {name}", value, SETTINGS[name])
        _one_of("opt_level", self.opt_level, (0, 1, 2, 3))
        if self.threads is not None and not (is_whole(self.threads) and self.threads >= 1):
            raise MlcError(f"threads is {self.threads!r}, a call needs at least 1", remedy="Give a whole number.")
        if self.memory_budget is not None and not (is_whole(self.memory_budget) and self.memory_budget >= 0):
            raise MlcError(f"memory_budget is {self.memory_budget!r}", remedy='Give bytes, or text as "200MiB".')
        for name, bounds in self.dims.items():
            if bounds.low == bounds.high and any(name in variant for variant in self.specialise):
                raise MlcError(
                    f"dimension '{name}' is fixed to {bounds.low} and cannot be specialised as well",
                    remedy=f"--dim {name}={bounds.low} makes code for this size alone, --dim {name}@{bounds.low} for every size and this one.",
                )

    def setting(self, name: str) -> str:
        """What was chosen, or the default."""
        return self.settings.get(name, SETTINGS[name][0])


def _one_of(name: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        raise MlcError(f"{name} is {value!r}", remedy=f"Choices: {', '.join(str(choice) for choice in choices)}.")


def is_whole(value: object) -> bool:
    """Whether a value is a whole number; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def _shapes(option: str, value: object) -> dict[str, tuple[int | str, ...]]:
    """{"x": ("N", 3, 224, 224)}."""
    from mlc.ir.dims import Dim

    found = {}
    for name, shape in _by_name(option, value, '{"x": ("N", 3, 224, 224)}').items():
        if isinstance(shape, str | bytes) or not isinstance(shape, Sequence):
            example = f"({shape!r},)" if is_whole(shape) or isinstance(shape, str) else '("N", 3)'
            raise MlcError(
                f"shapes: the shape of '{name}' is {shape!r}, and a shape is a sequence of extents",
                remedy=f"Write shapes={{{name!r}: {example}}} for an input of one axis.",
            )
        for extent in shape:
            if not (is_whole(extent) or isinstance(extent, Dim) or (isinstance(extent, str) and extent)):
                raise MlcError(
                    f"shapes: the shape of '{name}' has the extent {extent!r}",
                    remedy="An extent is a whole number, or the name of a size.",
                )
        found[name] = tuple(int(extent) if is_whole(extent) else extent for extent in shape)
    return found


def _dims(option: str, value: object) -> dict[str, DimRange]:
    """{"N": 8, "T": (1, 128)}."""
    found = {}
    for name, bounds in _by_name(option, value, '{"N": 8} or {"N": (1, 32)}').items():
        if isinstance(bounds, DimRange):
            found[name] = bounds
        elif is_whole(bounds):
            found[name] = DimRange(int(bounds), int(bounds))
        elif isinstance(bounds, tuple | list) and len(bounds) == 2:
            found[name] = DimRange(*bounds)
        else:
            raise MlcError(f"dims: {name!r} is {bounds!r}", remedy="Give a size, a pair (low, high), or a DimRange.")
    return found


def _known(option: str, value: object) -> dict[str, np.ndarray]:
    """{"k": 3}."""
    import numpy as np

    return {name: np.asarray(values) for name, values in _by_name(option, value, '{"k": 3}').items()}


def _variants(option: str, value: object) -> tuple[Variant, ...]:
    """[{"N": 8}, {"N": 1, "T": 128}]."""
    if isinstance(value, Mapping | str) or not isinstance(value, Sequence):
        raise MlcError(f"specialise is {value!r}", remedy='Give a list with one entry per set of sizes: [{"N": 8}].')
    return tuple(as_variant(variant) for variant in value)


def _texts(option: str, value: object) -> tuple[str, ...]:
    """["fuse", "cse"]."""
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(item, str) for item in value):
        raise MlcError(f"{option} is {value!r}", remedy=f"Give a list of names: {option}=['...'].")
    return tuple(value)


def _bytes(option: str, value: object) -> object:
    """200 * 2**20 or "200MiB"."""
    from mlc.ir.byte_counts import bytes_of

    return bytes_of(value) if isinstance(value, str) else value


def _passes(option: str, value: object) -> str | tuple[Pass | str, ...]:
    """Text, or passes one by one."""
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence):
        return tuple(value)
    raise MlcError(f"passes is {value!r}", remedy="Give text ('simplify,dce') or a list of passes and their names.")


def _store(option: str, value: object) -> object:
    """A ScheduleStore, or the names of files."""
    from mlc.ir.kernel.schedule_store import ScheduleStore

    if isinstance(value, ScheduleStore):
        return value
    paths = [value] if isinstance(value, str | PathLike) else value
    if not isinstance(paths, Sequence) or not all(isinstance(path, str | PathLike) for path in paths):
        raise MlcError(f"{option} is {value!r}", remedy="Give the name of a file that mlc tune wrote.")
    return ScheduleStore.read_all(paths)


def _by_name(option: str, value: object, example: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise MlcError(f"{option} is {value!r}", remedy=f"Give a value per name: {option}={example}.")
    return value


# The options with a short form, as `of` reads them.
_FORMS: Mapping[str, Callable[[str, object], Any]] = {
    "shapes": _shapes,
    "dims": _dims,
    "specialise": _variants,
    "known": _known,
    "passes": _passes,
    "disable_passes": _texts,
    "memory_budget": _bytes,
    "keep_f32": _texts,
    "tune_store": _store,
}
