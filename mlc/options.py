"""What a caller may ask of one compilation: one frozen dataclass, the same for Python and the command line."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Self, get_args

from mlc.errors import MlcError
from mlc.ir.variants import Variant, as_variant

Target = Literal["cpu", "cuda", "python"]
Precision = Literal["f32", "tf32", "bf16", "f16"]


@dataclass(frozen=True)
class DimRange:
    """Bounds of one symbolic dimension: low <= size <= high (None: no bound)."""

    low: int = 0
    high: int | None = None

    def __post_init__(self) -> None:
        if self.low < 0 or (self.high is not None and self.high < self.low):
            raise MlcError(f"the range {self} holds no size", remedy="Write low..high with 0 <= low <= high.")

    def __str__(self) -> str:
        return f"{self.low}..{'' if self.high is None else self.high}"


@dataclass(frozen=True)
class CompileOptions:
    """Options of `mlc.compile`.

    target           "cpu" (native code through LLVM), "cuda", or "python" (readable NumPy source)
    arch             CPU or GPU to build for: "native", "x86-64-v3", ...; "native" is the machine at hand
    shapes           input name -> extents; a number fixes an axis, a name makes it (or keeps it) symbolic
    dims             symbol -> bounds; a plain number fixes the symbol, a pair (low, high) bounds it
    specialise       sizes that get code of their own beside the code for every size, each as {symbol: size}; a call runs the code
                     of the first whose sizes it has
    until            a node of an ONNX model, by its name, or one value: its outputs become the model's, the rest is left out
    threads          largest number of threads a call may use; None: MLC_NUM_THREADS, OMP_NUM_THREADS, else what the
                     process may use (affinity, container quota)
    opt_level        0 only lowers, 1 also simplifies and fuses, 2 does everything that keeps the arithmetic as written, but for
                     constant factors at products, 3 also what changes rounding by a few units in the last place
    passes           the pipeline as text, in place of the one that opt_level chooses
    disable_passes   names of passes to leave out
    precision        lowest precision that may be used; nothing below f32 is used unasked
    keep_f32         names of nodes that stay in f32 when precision is lower
    cache            whether compiled objects are read from and written to the cache on disk
    verify_each      run the IR verifier after every pass
    settings         further choices as key -> text (`--opt conv=fft`)
    """

    target: Target = "cpu"
    arch: str = "native"
    shapes: Mapping[str, tuple[int | str, ...]] = field(default_factory=dict)
    dims: Mapping[str, DimRange] = field(default_factory=dict)
    specialise: tuple[Variant, ...] = ()
    until: str | None = None
    threads: int | None = None
    opt_level: int = 2
    passes: str | None = None
    disable_passes: tuple[str, ...] = ()
    precision: Precision = "f32"
    keep_f32: tuple[str, ...] = ()
    cache: bool = True
    verify_each: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, **given: Any) -> Self:
        """Options from keyword arguments as a user writes them: None means the default, shapes and dims in their short forms."""
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(given) - known):
            raise MlcError(f"unknown compile option '{unknown[0]}'", remedy=f"Options: {', '.join(sorted(known))}.")
        given = {name: value for name, value in given.items() if value is not None}
        if "shapes" in given:
            given["shapes"] = {name: tuple(shape) for name, shape in given["shapes"].items()}
        if "dims" in given:
            given["dims"] = {name: _dim_range(name, value) for name, value in given["dims"].items()}
        if "specialise" in given:
            given["specialise"] = tuple(as_variant(variant) for variant in given["specialise"])
        for name in ("disable_passes", "keep_f32"):
            if name in given:
                given[name] = tuple(given[name])
        return cls(**given)

    def __post_init__(self) -> None:
        _one_of("target", self.target, get_args(Target))
        _one_of("precision", self.precision, get_args(Precision))
        _one_of("opt_level", self.opt_level, (0, 1, 2, 3))
        if self.threads is not None and self.threads < 1:
            raise MlcError(f"threads is {self.threads}, a call needs at least 1")
        for name, bounds in self.dims.items():
            if bounds.low == bounds.high and any(name in variant for variant in self.specialise):
                raise MlcError(
                    f"dimension '{name}' is fixed to {bounds.low} and cannot be specialised as well",
                    remedy=f"--dim {name}={bounds.low} makes code for this size alone, --dim {name}@{bounds.low} for every size and this one.",
                )


def _one_of(name: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        raise MlcError(f"{name} is {value!r}", remedy=f"Choices: {', '.join(str(choice) for choice in choices)}.")


def _dim_range(name: str, value: object) -> DimRange:
    if isinstance(value, DimRange):
        return value
    if isinstance(value, int):
        return DimRange(value, value)
    if isinstance(value, tuple) and len(value) == 2:
        return DimRange(*value)
    raise MlcError(f"dims: {name!r} is {value!r}", remedy="Give a size, a pair (low, high), or a DimRange.")
