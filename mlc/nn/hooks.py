"""Functions that users hang on modules, and the handles that take them off again."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any, Self

Hook = Callable[..., Any]
_numbers = count()


class Handle:
    """Takes a hook off its module: `handle.remove()`, or at the end of `with module.register_forward_hook(f):`."""

    def __init__(self, hooks: dict[int, Hook], hook: Hook):
        self._hooks, self._number = hooks, next(_numbers)
        hooks[self._number] = hook

    def remove(self) -> None:
        """A second time it does nothing."""
        self._hooks.pop(self._number, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()
