"""What a caller hands to an executable: inputs in order or by name, and the names of the outputs wanted. Errors say how a call is written."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from mlc.errors import MlcError
from mlc.ir.spelling import hint


def in_order(names: Collection[str], given: Sequence[Any], named: Mapping[str, Any]) -> Sequence[Any]:
    """One value per input, from those given by place and then by name. Raises MlcError for one that is missing, given twice or unknown."""
    if len(given) == 1 and isinstance(given[0], Mapping):
        raise all_at_once(given[0])
    if not named:
        if len(given) != len(names):
            raise MlcError(f"{_count(names)} needed ({', '.join(names)}), {len(given)} given")
        return given
    values = dict(zip(names, given, strict=False))
    if len(given) > len(names):
        raise MlcError(f"{_count(names)} needed ({', '.join(names)}), {len(given) + len(named)} given")
    if twice := [name for name in named if name in values]:
        raise MlcError(f"input '{twice[0]}' is given twice, by its place and by name")
    values.update(named)
    require_inputs(names, values)
    return [values[name] for name in names]


def require_inputs(names: Collection[str], inputs: object, optional: Collection[str] = ()) -> None:
    """Raises MlcError where `inputs` is no mapping that has these names and no others; those in `optional` may be missing."""
    if not isinstance(inputs, Mapping):
        raise MlcError(
            f"inputs go by name, and these are {_kind(inputs)}",
            remedy=f"Write run(None, {{{', '.join(f'{name!r}: ...' for name in names)}}}).",
        )
    for name in inputs:
        if name not in names:
            raise _unknown("input", name, names)
    for name in names:
        if name not in inputs and name not in optional:
            raise MlcError(f"input '{name}' is missing", remedy=f"Inputs: {', '.join(names)}.")


def require_outputs(names: Collection[str], wanted: object) -> None:
    """Raises MlcError where `wanted` is neither None nor a list of names of outputs."""
    if wanted is None:
        return
    if not isinstance(wanted, Sequence) or isinstance(wanted, str) or not all(isinstance(n, str) for n in wanted):
        example = f"[{wanted!r}]" if isinstance(wanted, str) else "None"
        raise MlcError(
            f"the first argument of run names outputs, and this is {_kind(wanted)}",
            remedy=f"Write run({example}, {{'input': array}}); None stands for all outputs.",
        )
    for name in wanted:
        if name not in names:
            raise _unknown("output", name, names)


def all_at_once(inputs: object) -> MlcError:
    """About a mapping of inputs in the place of one."""
    return MlcError(
        f"inputs are given one by one, and this is {_kind(inputs)}",
        remedy="By name: exe(**inputs), or exe.run(None, inputs).",
    )


def _unknown(what: str, name: object, names: Collection[str]) -> MlcError:
    return MlcError(
        f"there is no {what} '{name}'", remedy=f"{hint(str(name), names)}{what.capitalize()}s: {', '.join(names)}."
    )


def _count(names: Collection[str]) -> str:
    return f"{len(names)} input{' is' if len(names) == 1 else 's are'}"


def _kind(value: object) -> str:
    return f"a {type(value).__name__}" if value is not None else "None"
