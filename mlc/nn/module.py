"""Modules: functions with parameters. A subclass sets parameters and other modules as attributes, and writes `forward`.

class Net(nn.Module):
    def __init__(self):
        self.hidden = nn.Linear(784, 128)
        self.blocks = [nn.Linear(128, 128) for _ in range(3)]

    def forward(self, x):
        x = nn.functional.relu(self.hidden(x))
        for block in self.blocks:
            x = x + block(x)
        return x
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from os import PathLike
from reprlib import recursive_repr
from typing import Any, Self, TypeVar

from mlc.errors import MlcError, ShapeError
from mlc.frontends.trace.parameters import dtype_text
from mlc.frontends.trace.tape import Handle, Hook
from mlc.frontends.trace.tensor import Tensor, array_of, type_text, wrap
from mlc.frontends.trace.tracing import user_line
from mlc.ir.types import numpy_dtype
from mlc.nn.backward_hooks import backward_through
from mlc.nn.call_scope import read, write
from mlc.nn.compiled_module import CompiledModule
from mlc.nn.parameter import Buffer, OwnedTensor, Parameter
from mlc.nn.state_file import read_state, write_state
from mlc.other_frameworks import check_keywords

Owned = TypeVar("Owned", bound=OwnedTensor)


class Module:
    """See the file. Parameters, buffers and modules are found in the order in which they were set, a module's own before those of its parts.

    Modules may stand in lists, tuples and dicts of attributes; parameters and buffers are attributes themselves. `training` says which of two
    behaviours layers such as Dropout and BatchNorm have.
    """

    training: bool
    _tensors: dict[str, OwnedTensor]
    _before: dict[int, Hook]
    _after: dict[int, Hook]
    _back_before: dict[int, Hook]
    _back_after: dict[int, Hook]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        if kwargs:
            check_keywords(cls, kwargs)
        made = super().__new__(cls)
        vars(made).update(training=True, _tensors={}, _before={}, _after={}, _back_before={}, _back_after={})
        return made

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What a call computes; subclasses write it."""
        raise MlcError(f"{type(self).__name__} has no method forward", file=user_line())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """`forward`, between its hooks. Errors say which part of this module they happened in."""
        try:
            for hook in list(self._before.values()):
                if (found := hook(self, args)) is not None:
                    args = found if isinstance(found, tuple) else (found,)
            args = backward_through(self, self._back_after, args)
            output = backward_through(self, self._back_before, self.forward(*args, **kwargs))
            for hook in list(self._after.values()):
                if (found := hook(self, args, output)) is not None:
                    output = found
        except MlcError as error:
            self._name(error)
            raise
        return output

    def _name(self, error: MlcError) -> None:
        """Begin the message with the innermost module that it passed through, as called from this one."""
        inner, message = vars(error).setdefault("module", (self, error.message))
        for path, module in self.named_modules():
            if module is inner:
                error.message = f"{type(inner).__name__}{path and f' {path!r}'}: {message}"

    def __jit__(self, jit: Any, **options: Any) -> CompiledModule:
        """What `mlc.jit(module)` gives."""
        return CompiledModule(self, jit, **options)

    def register_forward_pre_hook(self, hook: Hook) -> Handle:
        """Call hook(module, args) before `forward`; what it returns, unless None, is the arguments from then on."""
        return Handle(self._before, hook)

    def register_forward_hook(self, hook: Hook) -> Handle:
        """Call hook(module, args, output) after `forward`; what it returns, unless None, is the output from then on."""
        return Handle(self._after, hook)

    def register_backward_pre_hook(self, hook: Hook) -> Handle:
        """Call hook(module, gradient) with the gradient by each tensor of the output, on its way back into the module; what it returns, unless None,
        takes its place."""
        return Handle(self._back_before, hook)

    def register_backward_hook(self, hook: Hook) -> Handle:
        """Call hook(module, gradient) with the gradient by each tensor of the positional arguments, as the module gives it on; what it returns, unless
        None, takes its place."""
        return Handle(self._back_after, hook)

    # Attributes --------------------------------------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        held = self._tensors.get(name)
        if isinstance(value, OwnedTensor):
            if hasattr(type(self), name):
                raise MlcError(f"{type(self).__name__} has something else called '{name}'", file=user_line())
            vars(self).pop(name, None)
            self._tensors[name] = value
        elif held is not None and value is not None:
            write(held, value if isinstance(value, Tensor) else wrap(array_of(value, held.dtype, copy=False)), name)
        else:
            self._tensors.pop(name, None)
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        owned = vars(self).get("_tensors", {}).get(name)
        if owned is None:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return read(owned)

    def __delattr__(self, name: str) -> None:
        if self._tensors.pop(name, None) is None:
            super().__delattr__(name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._tensors]

    def children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) of the modules that this one holds, as `hidden`, `blocks.0`."""
        for name, value in vars(self).items():
            if name not in _OWN:
                yield from _modules_in(value, name)

    # What it holds -----------------------------------------------------------------------------------------------------------

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """(path, module) of this module, whose path is "", and all inside it, each once."""
        waiting: list[tuple[str, Module]] = [("", self)]
        seen = set()
        while waiting:
            path, module = waiting.pop()
            if id(module) not in seen:
                seen.add(id(module))
                yield path, module
                waiting += [(_join(path, name), child) for name, child in module.children()][::-1]

    def modules(self) -> Iterator[Module]:
        """This module and all inside it, each once."""
        return (module for _, module in self.named_modules())

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(path, parameter), each parameter once."""
        return self._owned(Parameter)

    def parameters(self) -> Iterator[Parameter]:
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """(path, buffer), each buffer once."""
        return self._owned(Buffer)

    def buffers(self) -> Iterator[Buffer]:
        return (buffer for _, buffer in self.named_buffers())

    def _owned(self, kind: type[Owned]) -> Iterator[tuple[str, Owned]]:
        seen = set()
        for path, module in self.named_modules():
            for name, owned in module._tensors.items():
                if isinstance(owned, kind) and id(owned) not in seen:
                    seen.add(id(owned))
                    yield _join(path, name), owned

    def values(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """(parameters, buffers) as plain tensors, by path: the pytrees that `functional_call` takes."""
        return (
            {path: wrap(owned.data) for path, owned in self.named_parameters()},
            {path: wrap(owned.data) for path, owned in self.named_buffers()},
        )

    # What it is set to ---------------------------------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Have this module and all inside it behave as in training, or not."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Have this module and all inside it behave as when they are used."""
        return self.train(False)

    def requires_grad_(self, flag: bool = True) -> Self:
        """Have all parameters be trained, or frozen."""
        for parameter in self.parameters():
            parameter.requires_grad_(flag)
        return self

    def astype(self, dtype: Any) -> Self:
        """Have all parameters and buffers that are floats be of this dtype."""
        wanted = numpy_dtype(dtype_text(dtype))
        for _, owned in self._owned(OwnedTensor):
            if owned.is_float:
                owned.data = owned.data.astype(wanted)
        return self

    def state_dict(self) -> dict[str, Tensor]:
        """The numbers of all parameters and persistent buffers, by path; a module's parameters come before its buffers, as in PyTorch."""
        return {path: wrap(owned.data) for path, owned in self._state()}

    def _state(self) -> Iterator[tuple[str, OwnedTensor]]:
        seen = set()
        for path, module in self.named_modules():
            kinds = [
                [(n, t) for n, t in module._tensors.items() if isinstance(t, kind)] for kind in (Parameter, Buffer)
            ]
            for name, owned in [*kinds[0], *kinds[1]]:
                if id(owned) not in seen and getattr(owned, "persistent", True):
                    seen.add(id(owned))
                    yield _join(path, name), owned

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Take the numbers of a state dict, of arrays or tensors. Nothing is changed where it does not fit: raises MlcError that says how.

        With `strict` the names must be those of this module; else only those in both are taken.
        """
        own = dict(self._state())
        missing, unexpected = [n for n in own if n not in state], [n for n in state if n not in own]
        wrong = [
            (name, type_text(owned), f"state dict: {list(array_of(state[name], None, copy=False).shape)}")
            for name, owned in own.items()
            if name in state and array_of(state[name], None, copy=False).shape != owned.shape
        ]
        if wrong:
            raise ShapeError(
                f"the state dict does not fit {type(self).__name__}",
                file=user_line(),
                shapes=[(name, "", mine, theirs) for name, mine, theirs in wrong],
            )
        if strict and (missing or unexpected):
            lists = [
                f"{what}: {', '.join(names)}."
                for what, names in (("Missing", missing), ("Unexpected", unexpected))
                if names
            ]
            raise MlcError(
                f"the state dict does not fit {type(self).__name__}", file=user_line(), remedy="\n".join(lists)
            )
        for name, owned in own.items():
            if name in state:
                owned.assign(state[name])

    def save(self, path: str | PathLike[str]) -> None:
        """Write the state dict to a safetensors file, whole or not at all."""
        write_state(self.state_dict(), path)

    def load(self, path: str | PathLike[str], strict: bool = True) -> None:
        """Take the numbers of a safetensors file, as `load_state_dict`. Raises InvalidModel for a file that is missing or damaged."""
        self.load_state_dict(read_state(path), strict)

    # As text ---------------------------------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What stands between the brackets of a layer's text."""
        return ""

    @recursive_repr()
    def __repr__(self) -> str:
        lines = [(name, repr(child)) for name, child in self.children()]
        head = f"{type(self).__name__}({self.extra_repr()}"
        if not lines:
            return f"{head})"
        shown = [f"({name}): {text}".replace("\n", "\n  ") for name, text in _merged(lines)]
        return "\n  ".join([head, *shown]) + "\n)"


_OWN = frozenset(vars(Module()))


def _modules_in(value: Any, name: str) -> Iterator[tuple[str, Module]]:
    """The modules in a value, which may be a container of them."""
    if isinstance(value, Module):
        yield name, value
    elif isinstance(value, list | tuple | dict):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(item, OwnedTensor):
                raise MlcError(
                    f"'{name}' is a {type(value).__name__} that holds a {type(item).__name__}",
                    remedy="Make each an attribute of its own, or of a module in the list.",
                )
            yield from _modules_in(item, f"{name}.{key}")


def _merged(lines: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Equal neighbours of a list as one: ("blocks.0-11", "12 x Block(...)")."""
    found = []
    for (_, text), run in groupby(lines, lambda line: (line[0].rstrip("0123456789"), line[1])):
        names = [name for name, _ in run]
        if len(names) == 1:
            found.append((names[0], text))
        else:
            found.append((f"{names[0]}-{names[-1].rpartition('.')[2]}", f"{len(names)} x {text}"))
    return found


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
