"""What a functional call puts in the place of a module's own state, for as long as it runs in this thread."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from mlc.errors import MlcError
from mlc.frontends.trace.tensor import Tensor, type_text
from mlc.frontends.trace.tracing import current_trace, user_line
from mlc.nn.parameter import Buffer, OwnedTensor


class CallScope:
    """Values for parameters and buffers, by the identity of their owners; new values of buffers; the key of random numbers, if there is one."""

    def __init__(self, values: Mapping[int, Tensor], key: Tensor | None, outer: CallScope | None):
        self.values, self.key, self.outer = dict(values), key, outer
        self.trace = current_trace()
        self.drawn = 0

    def value_of(self, owned: OwnedTensor) -> Tensor:
        """What stands for the tensor: what was given for it, in the innermost call that was given something."""
        scope: CallScope | None = self
        while scope is not None:
            if id(owned) in scope.values:
                return scope.values[id(owned)]
            scope = scope.outer
        return owned

    def update(self, buffer: Buffer, value: Tensor, name: str) -> bool:
        """Give a buffer its next value in this call; False where no call was given the buffer. Raises MlcError in a body inside of the call."""
        scope: CallScope | None = self
        while scope is not None:
            if id(buffer) in scope.values:
                if scope.trace is not (inner := current_trace()) and inner is not None:
                    raise MlcError(
                        f"'{name}' is given another value in '{inner.name}', a body of its own, which no value leaves but its results",
                        file=user_line(),
                        remedy="Leave layers that follow statistics out of mlc.checkpoint, scan, cond and grad inside of a module; or use module.eval().",
                    )
                scope.values[id(buffer)] = value
                return True
            scope = scope.outer
        return False


_current: ContextVar[CallScope | None] = ContextVar("functional_call", default=None)


def random_source() -> tuple[Tensor, int] | None:
    """The key of the functional call under way and the number of this use of it; None where no call has a key."""
    scope = _current.get()
    while scope is not None:
        if scope.key is not None:
            scope.drawn += 1
            return scope.key, scope.drawn - 1
        scope = scope.outer
    return None


@contextmanager
def calling(values: Mapping[int, Tensor], key: Tensor | None) -> Iterator[CallScope]:
    """Modules read these values in the place of their own."""
    scope = CallScope(values, key, _current.get())
    token = _current.set(scope)
    try:
        yield scope
    finally:
        _current.reset(token)


def read(owned: OwnedTensor) -> Tensor:
    """The value of a parameter or buffer, as things stand."""
    scope = _current.get()
    return owned if scope is None else scope.value_of(owned)


def write(owned: OwnedTensor, value: Tensor, name: str) -> None:
    """Give a tensor of a module its next value: in the functional call under way, or for good. Raises MlcError where neither is possible."""
    scope = _current.get()
    if scope is not None and isinstance(owned, Buffer):
        if (value.shape, value.dtype) != (owned.shape, owned.dtype):
            raise MlcError(
                f"the buffer '{name}' is {type_text(owned)}, its next value {type_text(value)}", file=user_line()
            )
        if scope.update(owned, value, name):
            return
    trace = current_trace()
    if trace is not None:
        raise MlcError(
            f"'{name}' is given another value while '{trace.name}' is traced, which happens once and not when the code runs",
            file=user_line(),
            remedy="mlc.nn.functional_call(module, parameters, buffers, ...) returns buffers that a call changes; module.eval() leaves them as they are.",
        )
    owned.assign(value)
