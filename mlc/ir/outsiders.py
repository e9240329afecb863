"""What was registered from outside of mlc: passes, ops, handlers of ONNX operators. The version of mlc says nothing of their code, so nothing
that they may have had a part in is kept between processes."""

from __future__ import annotations

_names: dict[str, None] = {}


def is_own(definition: object) -> bool:
    """Whether a class or function is one of mlc's."""
    return str(getattr(definition, "__module__", "")).partition(".")[0] == "mlc"


def note(what: str, definition: object = None) -> None:
    """Remember what has been registered, unless its definition is mlc's own."""
    if not is_own(definition):
        _names[what] = None


def noted() -> list[str]:
    return list(_names)
