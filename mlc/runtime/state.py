"""State: inputs that an executable keeps from call to call, so that a call gives only what changes.

    step = exe.with_state({"w": "w_new", "m": "m_new"}, {"w": w, "m": m})     step(x, y) -> loss
    chat = exe.with_state({"past": "present"}, {"past": empty})               chat(ids) -> logits

A result that lives in its input is updated where it lies, and its pointer is set once. Any other result is written into a second buffer, and
the two change places: the present of one call is the past of the next, nothing is copied, and neither moves unless it grows. A buffer
that must grow takes twice what it needs, so that memory is asked for a logarithm of the calls. Where the result begins with the input
(`graph.front`), there is one buffer, and a call writes nothing but the new rows behind the old ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from threading import RLock
from typing import Any, Protocol

import numpy as np

from mlc.errors import DTypeError, MlcError, ShapeError
from mlc.ir.kernel.plan import Plan, TensorSpec
from mlc.runtime.arguments import in_order, require_inputs, require_outputs
from mlc.runtime.arrays import DTYPES, Memory, require_apart
from mlc.runtime.binding import KEPT, Binding, Shapes
from mlc.runtime.machines import Run
from mlc.runtime.space import Space


class Stateless(Protocol):
    """What state needs of an executable."""

    plan: Plan
    space: Space

    def workspace(self) -> Any: ...
    def argument(self, number: int, value: Any) -> Any: ...
    def bind(self, shapes: Shapes) -> Binding: ...
    def launch(
        self,
        workspace: Any,
        binding: Binding,
        arrays: Sequence[np.ndarray],
        outputs: list[Any],
        fresh: Sequence[int],
        run: Run | None = None,
    ) -> list[np.ndarray]: ...
    def timed(self, call: Callable[[Run], object], repeats: int) -> list[Any]: ...
    def save(self, path: Any, state: Mapping[str, str | None] | None = None) -> None: ...


NOTHING: Any = Memory(0)  # before a state has memory of its own


class Kept:
    """One input that is kept: its memory, and the memory that the result which follows it is written to, where that is another."""

    def __init__(self, space: Space, number: int, spec: TensorSpec, output: int | None, follows: TensorSpec | None):
        self.space, self.number, self.spec, self.output = space, number, spec, output
        self.updated = follows is not None and follows.alias == spec.name  # the result lives in the input
        self.stays = follows is not None and follows.front == spec.name  # it is written behind the input
        self.moves = follows is not None and not self.updated
        self.grows = follows is not None and follows.shape != spec.shape
        self.memory = self.spare = NOTHING
        self.array: Any = None

    def set(self, value: Any) -> bool:
        """A copy of the value becomes the state; whether it lies elsewhere, or has another shape, than before."""
        space, dtype = self.space, DTYPES[self.spec.dtype][0]
        array = space.argument(value, dtype, self.spec.name)
        fixed = [(axis, e) for axis, e in enumerate(self.spec.shape) if isinstance(e, int)]
        if len(self.spec.shape) != len(array.shape) or any(array.shape[axis] != e for axis, e in fixed):
            shape = ", ".join(map(str, self.spec.shape))
            raise ShapeError(
                f"state '{self.spec.name}' takes {self.spec.dtype}[{shape}], the array is {list(array.shape)}"
            )
        if self.array is not None and self.array.shape == array.shape:
            space.fill(self.array, array)
            return False
        memory = self.roomy(self.memory, array.nbytes)
        made = space.array(array.shape, dtype, memory)
        space.fill(made, array)
        self.memory, self.array = memory, made
        return True

    def target(self, binding: Binding) -> Any:
        """Where the result that follows is written."""
        assert self.output is not None
        shape, dtype, bytes = binding.outputs[self.output]
        if self.stays:
            if self.memory.bytes < bytes:
                held, memory = self.array, self.space.memory(2 * bytes)
                self.array = self.space.array(held.shape, dtype, memory)
                self.space.fill(self.array, held)
                self.memory = memory
            return self.space.array(shape, dtype, self.memory)
        self.spare = self.roomy(self.spare, bytes)
        return self.space.array(shape, dtype, self.spare)

    def swap(self, array: Any) -> None:
        """What was written is the state from now on."""
        self.array = array
        if not self.stays:
            self.memory, self.spare = self.spare, self.memory

    def roomy(self, memory: Any, bytes: int) -> Any:
        """The memory, or another that holds so many bytes: twice as many where more will be wanted soon."""
        if memory is not NOTHING and memory.bytes >= bytes:
            return memory
        return self.space.memory(2 * bytes if self.grows else bytes)


class States(MutableMapping[str, np.ndarray]):
    """The values of the state, by the names of the inputs. Reading gives a copy, writing takes one; names neither come nor go."""

    def __init__(self, owner: Stateful):
        self._owner = owner

    def __getitem__(self, name: str) -> np.ndarray:
        return self._owner._read(name)

    def __setitem__(self, name: str, value: Any) -> None:
        self._owner._write({name: value})

    def __delitem__(self, name: str) -> None:
        raise MlcError(f"state '{name}' stays", remedy="Give it another value, or begin anew with reset().")

    def __iter__(self) -> Iterator[str]:
        return iter(self._owner._kept)

    def __len__(self) -> int:
        return len(self._owner._kept)

    def __repr__(self) -> str:
        return f"<state {', '.join(self)}>"


class Stateful:
    """An executable with state, made by `exe.with_state`. It is called as the executable is, without the inputs that are kept, and gives the
    outputs that do not follow them.

    Calls of one Stateful, and whatever reads or writes its state, wait for each other. `copy()` gives another conversation on the same
    code and weights, whose calls run at the same time. A call that fails leaves the state as it was.
    """

    def __init__(
        self,
        machine: Stateless,
        kept: Mapping[str, str | None] | None = None,
        initial: Mapping[str, Any] | None = None,
    ):
        plan = machine.plan
        self.executable: Any = machine
        self._pairs = _pairs(plan, kept)
        inputs = {spec.name: number for number, spec in enumerate(plan.inputs)}
        outputs = {spec.name: number for number, spec in enumerate(plan.outputs)}
        self._kept: dict[str, Kept] = {}
        for name, follows in self._pairs.items():
            output = None if follows is None else outputs[follows]
            spec = None if output is None else plan.outputs[output]
            self._kept[name] = Kept(machine.space, inputs[name], plan.inputs[inputs[name]], output, spec)
        held = {state.number for state in self._kept.values()}
        following = {state.output for state in self._kept.values()}
        aliases = plan.aliases
        self._given = [number for number in range(len(plan.inputs)) if number not in held]
        self._results = [number for number in range(len(plan.outputs)) if number not in following]
        self._inputs = [plan.inputs[number].name for number in self._given]
        self._outputs = [plan.outputs[number].name for number in self._results]
        self._updated = {n: source for n, source in aliases.items() if source not in held}  # arrays of the caller
        self._fresh = [n for n in self._results if n not in aliases]
        self._moving = [state for state in self._kept.values() if state.moves]
        self._keys = [*self._given, *(state.number for state in self._moving)]  # whose shapes differ from call to call
        self._template: list[Any] = [None] * len(plan.outputs)
        self._arrays: list[Any] = [None] * len(plan.inputs)
        self._bindings: dict[Shapes, Binding] = {}
        self._workspace: Any = machine.workspace()
        self._lock = RLock()
        self._initial = dict(initial or {})
        self.state = States(self)
        self._write(self._initial)

    # Signature -------------------------------------------------------------------------------------------------------
    def get_inputs(self) -> list[Any]:
        every = self.executable.get_inputs()
        return [every[number] for number in self._given]

    def get_outputs(self) -> list[Any]:
        every = self.executable.get_outputs()
        return [every[number] for number in self._results]

    def __repr__(self) -> str:
        pairs = ", ".join(name if follows is None else f"{name} <- {follows}" for name, follows in self._pairs.items())
        return f"<state {pairs} of {self.executable!r}>"

    # State -----------------------------------------------------------------------------------------------------------
    def reset(self) -> None:
        """Begin anew with the arrays that with_state was given. Raises MlcError where it was given none for some."""
        if missing := [name for name in self._kept if name not in self._initial]:
            raise MlcError(
                f"state '{missing[0]}' has no initial value", remedy="Give with_state one, or set exe.state[...]."
            )
        self._write(self._initial)

    def copy(self) -> Stateful:
        """Another one with the same state, which goes its own way from here. Code and weights are shared."""
        with self._lock:
            made = Stateful(self.executable, self._pairs)
            made._initial = dict(self._initial)
            made._write({name: state.array for name, state in self._kept.items() if state.array is not None})
        return made

    __copy__ = copy

    def __deepcopy__(self, memo: object) -> Stateful:
        return self.copy()

    def __reduce__(self) -> tuple[Any, ...]:
        with self._lock:
            values = {name: self._read(name) for name, state in self._kept.items() if state.array is not None}
            return _restored, (self.executable, self._pairs, self._initial, values)

    def save(self, path: Any) -> None:
        """Write the package, which says what is kept: load_executable(path).with_state() keeps the same. Values are not in it."""
        self.executable.save(path, self._pairs)

    def _read(self, name: str) -> np.ndarray:
        with self._lock:
            array = self._state(name).array
            if array is None:
                raise _without_value(name)
            return self.executable.space.copied(array)

    def _write(self, values: Mapping[str, Any]) -> None:
        with self._lock:
            for name, value in values.items():
                state = self._state(name)
                if state.set(value) and not state.moves:
                    self._bindings.clear()  # they are found by the shapes of what is given, and of what moves
                array = state.array
                assert array is not None
                self._arrays[state.number] = array
                self._workspace.io[state.number] = self.executable.space.place(array)
                if state.updated:
                    assert state.output is not None
                    self._template[state.output] = array

    def _state(self, name: str) -> Kept:
        if name not in self._kept:
            raise MlcError(f"there is no state '{name}'", remedy=f"State: {', '.join(self._kept)}.")
        return self._kept[name]

    # Calls -----------------------------------------------------------------------------------------------------------
    def __call__(self, /, *arrays: Any, **named: Any) -> Any:
        """The output, the tuple of outputs, or None where all of them are kept, for one array per input that is not, in order or by name."""
        outputs = self._call(in_order(self._inputs, arrays, named) if named else arrays)
        return tuple(outputs) if len(outputs) > 1 else outputs[0] if outputs else None

    def run(
        self, output_names: Sequence[str] | None = None, inputs: Mapping[str, Any] | None = None
    ) -> list[np.ndarray]:
        """The outputs named (all that are not kept for None), in that order, for inputs by name."""
        require_outputs(self._outputs, output_names)
        require_inputs(self._inputs, inputs)
        outputs = self._call([inputs[name] for name in self._inputs])  # type: ignore[index]  # None is none of them
        return outputs if output_names is None else [outputs[self._outputs.index(name)] for name in output_names]

    def profile(self, /, *arrays: Any, repeats: int = 1, **named: Any) -> list[Any]:
        """As Executable.profile. The calls are calls: the state moves on."""
        given = in_order(self._inputs, arrays, named)
        return self.executable.timed(lambda run: self._call(given, run), repeats)

    def _call(self, values: Sequence[Any], run: Run | None = None) -> list[np.ndarray]:
        machine, given = self.executable, self._given
        if len(values) != len(given):
            in_order(self._inputs, values, {})  # says which are needed
        with self._lock:
            arrays, io, place = self._arrays, self._workspace.io, machine.space.place
            for number, value in zip(given, values, strict=True):
                array = machine.argument(number, value)
                arrays[number] = array
                io[number] = place(array)
            try:
                binding = self._binding()
                outputs = list(self._template)
                if self._updated:
                    names = [spec.name for spec in machine.plan.inputs]
                    require_apart(arrays, set(self._updated.values()), names, place)
                    for output, source in self._updated.items():
                        outputs[output] = arrays[source]
                first = len(arrays)
                for state in self._moving:
                    assert state.output is not None
                    outputs[state.output] = target = state.target(binding)
                    io[first + state.output] = place(target)
                    arrays[state.number], io[state.number] = state.array, state.memory.place
                if machine.space.own:
                    self._workspace.answer_where([arrays[number] for number in given])
                outputs = machine.launch(self._workspace, binding, arrays, outputs, self._fresh, run)
                for state in self._moving:
                    assert state.output is not None
                    state.swap(outputs[state.output])
                    arrays[state.number] = state.array
                    io[state.number] = state.memory.place
            finally:
                for number in given:  # they are the caller's
                    arrays[number] = None
        return [outputs[number] for number in self._results]

    def _binding(self) -> Binding:
        try:
            key = tuple([self._arrays[number].shape for number in self._keys])
            found = self._bindings.get(key)
            if found is None:
                found = self.executable.bind(tuple(array.shape for array in self._arrays))
                if len(self._bindings) >= KEPT:
                    del self._bindings[next(iter(self._bindings))]
                self._bindings[key] = found
            return found
        except AttributeError:  # None has no shape
            raise _without_value(next(name for name, state in self._kept.items() if state.array is None)) from None


def _without_value(name: str) -> MlcError:
    return MlcError(
        f"state '{name}' has no value yet", remedy=f"Give with_state an initial one, or set exe.state[{name!r}]."
    )


def _restored(
    machine: Stateless, pairs: Mapping[str, str | None], initial: Mapping[str, Any], values: Mapping[str, Any]
) -> Stateful:
    made = Stateful(machine, pairs)
    made._initial = dict(initial)
    made._write(values)
    return made


def _pairs(plan: Plan, kept: Mapping[str, str | None] | None) -> dict[str, str | None]:
    """Input -> the output that follows it, tested. By default those of the package, or the results that live in inputs."""
    places = {**plan.aliases, **plan.fronts}
    aliases = {plan.inputs[source].name: plan.outputs[n].name for n, source in places.items()}
    if kept is None:
        kept = plan.state or aliases
        if not kept:
            raise MlcError(
                "no result of this executable lives in an input",
                remedy='Name what is kept: with_state({"past": "present"}).',
            )
    if not isinstance(kept, Mapping):
        raise MlcError(f"with_state takes a mapping of inputs to outputs, not a {type(kept).__name__}")
    inputs = {spec.name: spec for spec in plan.inputs}
    outputs = {spec.name: spec for spec in plan.outputs}
    taken: dict[str, str] = {}
    for name, follows in kept.items():
        if name not in inputs:
            raise MlcError(f"there is no input '{name}'", remedy=f"Inputs: {', '.join(inputs)}.")
        lives = aliases.get(name)
        if lives is not None and follows != lives:
            raise MlcError(
                f"the output '{lives}' lies in the memory of the input '{name}', and follows it, not {follows!r}"
            )
        if follows is None:
            continue
        if follows not in outputs:
            raise MlcError(f"there is no output '{follows}'", remedy=f"Outputs: {', '.join(outputs)}.")
        if follows in taken:
            raise MlcError(f"the output '{follows}' follows '{taken[follows]}' and '{name}'")
        taken[follows] = name
        mine, other = inputs[name], outputs[follows]
        if (lies := other.alias or other.front) not in (None, name):
            raise MlcError(
                f"the output '{follows}' lies in the memory of the input '{lies}', and cannot follow '{name}'"
            )
        _require_same(mine, other)
    return dict(kept)


def _require_same(mine: TensorSpec, other: TensorSpec) -> None:
    texts = [f"{spec.dtype}[{', '.join(map(str, spec.shape))}]" for spec in (mine, other)]
    if mine.dtype != other.dtype:
        raise DTypeError(
            f"the output '{other.name}' is {texts[1]}, and cannot follow the input '{mine.name}', {texts[0]}"
        )
    differ = len(mine.shape) != len(other.shape) or any(
        isinstance(a, int) and isinstance(b, int) and a != b for a, b in zip(mine.shape, other.shape, strict=True)
    )
    if differ:
        raise ShapeError(
            f"the output '{other.name}' is {texts[1]}, and cannot follow the input '{mine.name}', {texts[0]}"
        )
