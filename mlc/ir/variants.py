"""Sizes that get code of their own beside the code for every size: N@8, or N@8,T@128 for both at once.

Such a set of sizes is a variant. Where several hold in one call, the one that was given first is taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mlc.errors import MlcError
from mlc.ir.spelling import hint

Variant = Mapping[str, int]  # symbol -> size

_REMEDY = "Write N@8, or N@8,T@128 for sizes that hold together."


def parse(text: str) -> dict[str, int]:
    """A variant from its text."""
    found: dict[str, int] = {}
    for part in text.split(","):
        name, at, size = part.strip().rpartition("@")
        if not at or not name or not size.isdecimal():
            wrong = "no dimension is named" if at and not name else f"'{size}' is not a size"
            raise MlcError(f"cannot specialise for {text}: {wrong}", remedy=_REMEDY)
        if found.setdefault(name, int(size)) != int(size):
            raise MlcError(f"cannot specialise for {text}: '{name}' has two sizes", remedy=_REMEDY)
    return found


def as_variant(value: object) -> Variant:
    """A variant as a caller writes it: {"N": 8}."""
    if not isinstance(value, Mapping) or not value:
        raise MlcError(f"specialise: {value!r} is no set of sizes", remedy='Write specialise=[{"N": 8}].')
    for name, size in value.items():
        if not isinstance(name, str) or type(size) is not int:
            raise MlcError(f"specialise: {name!r} is {size!r}, not a size", remedy='Write specialise=[{"N": 8}].')
    return dict(value)


def variant_text(variant: Variant) -> str:
    return ",".join(f"{name}@{size}" for name, size in variant.items())


def require_possible(variants: Iterable[Variant], symbols: Mapping[str, tuple[int, int | None]]) -> None:
    """Raises MlcError for a dimension that the module does not have, and for a size outside of its bounds."""
    for variant in variants:
        for name, size in variant.items():
            if name not in symbols:
                raise _unknown(name, list(symbols))
            low, high = symbols[name]
            if size < low or (high is not None and size > high):
                bounds = f"{low}..{'' if high is None else high}"
                raise MlcError(f"cannot specialise for {name} = {size}: {name} is within {bounds}")


def _unknown(name: str, symbols: Sequence[str]) -> MlcError:
    if not symbols:
        return MlcError(f"cannot specialise for '{name}': the model has no symbolic dimensions")
    return MlcError(f"unknown dimension '{name}'", remedy=f"{hint(name, symbols)}Known: {', '.join(symbols)}.")
