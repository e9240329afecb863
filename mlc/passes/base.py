"""What a pass is: a change of a module, with a name, options, and the stages of a module that it takes and gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import ClassVar, Literal, Self

from mlc.errors import MlcError
from mlc.ir.module import Module

Stage = Literal["graph", "groups", "kernels", "schedules", "loops"]


@dataclass(frozen=True)
class Pass(ABC):
    """A change of a module. Options are the dataclass's fields: numbers, text or truth values, with defaults.

    takes   the stages of a module that it can work on; none: any
    gives   the stage that the module is in afterwards; none: the one that it was in
    """

    name: ClassVar[str]
    takes: ClassVar[tuple[Stage, ...]] = ()
    gives: ClassVar[Stage | None] = None

    @abstractmethod
    def run(self, module: Module) -> None:
        """Change the module in place."""

    def stops(self, module: Module) -> Iterator[str]:
        """As `run`, for somebody who looks on: gives a name wherever the module is whole on the way."""
        self.run(module)
        yield from ()

    @classmethod
    def of(cls, options: dict[str, str]) -> Self:
        """A pass from the text of its options, as in fuse{max-ops=8}. Raises MlcError for one that it does not have."""
        known = {f.name.replace("_", "-"): f for f in fields(cls)}
        values: dict[str, object] = {}
        for key, text in options.items():
            if key not in known:
                choices = ", ".join(known) or "none"
                raise MlcError(f"pass '{cls.name}' has no option '{key}'", remedy=f"Options: {choices}.")
            values[known[key].name] = _value(cls.name, key, text, type(known[key].default))
        return cls(**values)

    def __str__(self) -> str:
        given = [(f.name.replace("_", "-"), getattr(self, f.name)) for f in fields(self)]
        changed = [f"{k}={_spelling(v)}" for (k, v), f in zip(given, fields(self), strict=True) if v != f.default]
        return f"{self.name}{{{','.join(changed)}}}" if changed else self.name


def _value(name: str, key: str, text: str, kind: type) -> object:
    if kind is bool:
        if text not in ("true", "false"):
            raise MlcError(f"pass '{name}': {key} is true or false, not {text!r}")
        return text == "true"
    try:
        return kind(text)
    except ValueError as error:
        raise MlcError(f"pass '{name}': {key} is a number, not {text!r}") from error


def _spelling(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def require_pass(item: object) -> Pass:
    """The pass that an item of a list is. Raises MlcError for what is none."""
    if isinstance(item, Pass):
        return item
    if isinstance(item, type) and issubclass(item, Pass):
        raise MlcError(f"{item.__name__} is a class of passes, not a pass", remedy=f"Write {item.__name__}().")
    raise MlcError(f"{item!r} is no pass", remedy="Give names of passes, or objects of classes derived from mlc.Pass.")
