"""A compiled module that can be called: arrays in, arrays out, and between them the machine (machines.py) that runs the code.

    exe(x, mask), exe(x, mask=mask)             as a function: one array per input, in order or by name
    exe.run(None, {"x": x, "mask": mask})       by name, as in onnxruntime
    exe.get_inputs(), exe.get_outputs()         name, shape, type

Inputs are read in place where dtype and layout fit; outputs are fresh arrays. Where a result lives in an input (`graph.alias`), the call updates
the caller's array and gives it back; until it returns, that memory is the call's. Everything about a call is checked before native code
runs. Any number of Python threads may call at the same time; Python's lock is released while kernels run. State between calls: state.py.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from sys import getrefcount
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import ndarray

from mlc.errors import InternalError, InvalidModel, MlcError
from mlc.ir import dims
from mlc.ir.kernel.plan import TensorSpec
from mlc.runtime.arguments import in_order, require_inputs, require_outputs
from mlc.runtime.arrays import (
    DTYPES,
    UNUSED,
    Memory,
    require_apart,
    return_free_memory,
)
from mlc.runtime.artifact import Artifact
from mlc.runtime.binding import Binder, Binding, MemoryUse, Shapes
from mlc.runtime.dlpack import array_type
from mlc.runtime.indices import require_inside
from mlc.runtime.loaders import LOADERS
from mlc.runtime.machines import Run
from mlc.runtime.package import Package, from_bytes, read, save, to_bytes
from mlc.runtime.state import Stateful

if TYPE_CHECKING:
    from mlc.ir.module import Module
    from mlc.ir.weights import WeightStore

# Workspaces that wait for the next call; more of them exist only while more calls run at the same time.
_WORKSPACES = 4
# Bytes of an output up to which its memory is kept for the next call, should the caller have dropped the array by then.
_REUSED = 16 << 20


@dataclass(frozen=True)
class NodeArg:
    """An input or output as onnxruntime describes one: a fixed axis is a number, another one a symbol or expression."""

    name: str
    shape: list[int | str]
    type: str


@dataclass(frozen=True)
class StepTime:
    """One kernel call of a run: the kernel, the nodes it computes, nanoseconds and turns (all of them together inside a loop), its place in
    plan.steps."""

    kernel: str
    source: tuple[str, ...]
    nanoseconds: float
    step: int
    turns: float = 1.0


class Executable:
    """Code with its plan and weights, loaded. Made by mlc.compile and mlc.load_executable.

    `store` is that of the module that was compiled, and `made` what the compiler made of it, packed and folded: see refresh().

    `threads` is the largest number a call may use: each kernel takes as many of them as have enough to do for what starting them costs here.
    `threads_asked` is the number asked for, None where that was left open. `report` says what was decided and how long it took;
    `native_compilations` counts compilations since the executable exists: 0, for one code serves all sizes. Raises TargetUnavailable where
    the code does not run on this machine, InternalError where it is no code.
    """

    def __init__(
        self,
        artifact: Artifact,
        threads: int | None = None,
        *,
        store: WeightStore | None = None,
        made: WeightStore | None = None,
    ):
        plan = artifact.plan
        self.plan = plan
        self.objects = tuple(artifact.objects)
        self.target = artifact.target
        self.entry = artifact.entry
        self._names = tuple(artifact.names)
        self.report: dict[str, Any] = dict(artifact.report)
        self.module_text = artifact.module_text
        self.native_compilations = 0
        self.threads_asked = threads or artifact.threads
        self._loader = LOADERS[self.target.kind]
        self._machine = self._loader.load(artifact, self.threads_asked)
        self._run = self._machine.run
        self.workspace = self._machine.workspace
        self.space = self._machine.space
        self._own, self._place = self.space.own, self.space.place
        self.threads = self._machine.threads
        self._store: Callable[[], WeightStore | None] = lambda: None
        self._looked_at: dict[str, int] = {}  # weights whose numbers are a part of the code
        if store is not None and made is not None:
            store.tie(self, made)
            self._store, self._looked_at = weakref.ref(store), made.looked_at()
        self._binder = Binder(plan, self.threads, self._machine.grain)
        self._bindings = self._binder.kept
        self._input_dtypes = [DTYPES[spec.dtype][0] for spec in plan.inputs]
        self._output_types = [array_type(DTYPES[spec.dtype][0]) for spec in plan.outputs]
        self._index = {spec.name: number for number, spec in enumerate(plan.inputs)}
        self._output_index = {spec.name: number for number, spec in enumerate(plan.outputs)}
        self._aliases = plan.aliases
        self._fronts = plan.fronts
        self._nothing: list[Any] = [None] * len(plan.outputs)
        self._written = {number: plan.outputs[output].name for output, number in self._aliases.items()}
        self._fresh = [number for number in range(len(plan.outputs)) if number not in self._aliases]
        self._counts = {name: 1 + plan.sizes.index(dims.symbol(name)) for name in plan.counted}
        self._special = bool(self._fronts or self._counts)
        self._free: list[Any] = []

    # Signature -------------------------------------------------------------------------------------------------------
    def get_inputs(self) -> list[NodeArg]:
        return [_node(spec) for spec in self.plan.inputs]

    def get_outputs(self) -> list[NodeArg]:
        return [_node(spec) for spec in self.plan.outputs]

    def __repr__(self) -> str:
        lines = [f"<mlc.Executable for {self.target.name}, {self.threads} thread{'s' * (self.threads != 1)}"]
        rows = [("in ", spec) for spec in self.plan.inputs] + [("out", spec) for spec in self.plan.outputs]
        lines += [f"  {kind} {spec.name}: {spec.dtype}[{', '.join(map(str, spec.shape))}]" for kind, spec in rows[:6]]
        if len(rows) > 6:
            lines.append(f"  and {len(rows) - 6} more")
        bytes = sum(weight.nbytes for weight in self.weights.values())
        lines.append(f"  {len(self.plan.steps)} kernel calls, {len(self.weights)} weights of {bytes / 2**20:.1f} MiB>")
        return "\n".join(lines)

    @property
    def artifact(self) -> Artifact:
        """What it runs, as packages and libraries are written from it."""
        return Artifact(
            self.plan,
            self.objects,
            self.weights,
            self.target,
            self.entry,
            self.report,
            self.module_text,
            self.threads_asked,
            self._names,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles go through the package."""
        return _restored, (to_bytes(self.artifact), self.threads)

    def save(self, path: str | os.PathLike[str], state: Mapping[str, str | None] | None = None) -> None:
        """Write a package (.mlc) that mlc.load_executable reads. `state` is what with_state() keeps of it by default."""
        save(self.artifact, path, state)

    def export_library(self, path: str | os.PathLike[str], header: str | os.PathLike[str] | None = None) -> None:
        """Write a shared library with a C interface that needs neither Python nor mlc. Raises TargetUnavailable without a linker, and for
        targets that have none."""
        self._loader.export_library(self.artifact, path, header)

    def source(self, kind: str = "python") -> str:
        """What it computes as source text: "python" is a NumPy program of the graph as its kernels have it, fused and with the layouts
        that were chosen. main(..., weights=) takes the weights of `store` by name."""
        if kind != "python":
            raise MlcError(f"there is no source of kind {kind!r}", remedy='Kinds: "python".')
        from mlc.codegen.python.source import source

        return source(self._carried_module())

    # Weights ---------------------------------------------------------------------------------------------------------
    @property
    def weights(self) -> Mapping[str, np.ndarray]:
        """By key, as kernels read them: some in panels."""
        return self._machine.weights

    @property
    def store(self) -> WeightStore:
        """The weights that these are made from: those of the module that was compiled while that is alive, else of the module that the
        executable carries, as a package does. `store.replace(key, array)` and `refresh()` give a weight new numbers."""
        store = self._store()
        if store is None:
            store = self._carried_module().weights
            self._store, self._looked_at = (lambda: store), store.looked_at()
        return store

    def _carried_module(self) -> Module:
        """The fused graph that a package carries."""
        from mlc.runtime.portable import read

        if not self.module_text:
            raise MlcError("the executable carries no module that says what its weights are made from")
        return read(self.module_text, self.weights, "the module of the executable")

    def refresh(self) -> None:
        """Read the weights in the store anew: those that were replaced, and panels and folded values that are made from them. The next call
        sees them; calls that are under way go on with the old ones. Raises MlcError where the code was made for the old numbers."""
        store = self.store.tied(self)
        for key, version in self._looked_at.items():
            if store.version_of(key) != version:
                raise MlcError(
                    f"weight '{key}' was replaced, and its numbers have become a part of the code",
                    remedy="Compile the module again, or make the weight an argument: passes='weights-to-arguments{weights=...},default'.",
                )
        self._machine.read(store.get)

    # State -----------------------------------------------------------------------------------------------------------
    def with_state(
        self,
        kept: Mapping[str, str | None] | None = None,
        initial: Mapping[str, Any] | None = None,
    ) -> Stateful:
        """This executable with memory of its own for some inputs, which calls no longer give: {"past": "present"} has `past` take what
        `present` was in the call before, {"scale": None} keeps it as it is. By default these are the results that live in inputs, or what
        the package was saved with. `initial` are the values to begin with. Raises MlcError for names or types that do not fit."""
        return Stateful(self, kept, initial)

    # Times -----------------------------------------------------------------------------------------------------------
    def profile(self, /, *arrays: Any, repeats: int = 1, **named: Any) -> list[StepTime]:
        """Time of each kernel call that these inputs lead to, the mean over `repeats` runs. Raises MlcError where the code was built without."""
        arrays = tuple(in_order(self._index, arrays, named))
        return self.timed(lambda run: self._call(arrays, run), repeats)

    def timed(self, call: Callable[[Run], object], repeats: int) -> list[StepTime]:
        """As `profile`, of `call(run)`, which has the machine run by `run`."""
        if not isinstance(repeats, Integral) or repeats < 1:
            raise MlcError(f"repeats is {repeats!r}", remedy="Give a whole number of at least 1.")
        run, times = self._machine.timed()
        for _ in range(repeats):
            call(run)
        return [
            StepTime(step.kernel, step.source, nanoseconds / repeats, number, turns / repeats)
            for number, (step, (nanoseconds, turns)) in enumerate(zip(self.plan.steps, times(), strict=True))
            if turns  # else another branch was taken: one for other sizes
        ]

    def memory_analysis(self, **sizes: int) -> MemoryUse:
        """What a call takes at these sizes of the symbols; `step`, and those that make and read the buffers of the arena, are places in plan.steps.
        Known before the first call: `call` is what the process grows by."""
        for name, size in sizes.items():
            if not isinstance(size, Integral):
                raise MlcError(f"{name} is {size!r}", remedy="A size is a whole number.")
        use = self._binder.memory(sizes)
        users = self.report.get("buffers", ())
        if len(users) == len(use.lifetimes):
            lifetimes = tuple(
                replace(life, makers=tuple(by["makers"]), readers=tuple(by["readers"]))
                for life, by in zip(use.lifetimes, users, strict=True)
            )
            use = replace(use, lifetimes=lifetimes)
        return replace(use, weights=sum(array.nbytes for array in self.weights.values()))

    def threads_of(self, *shapes: Sequence[int]) -> int:
        """How many threads work on a call with inputs of these shapes, in the kernel that most of them share."""
        try:
            found = tuple(tuple(int(extent) for extent in shape) for shape in shapes)
        except (TypeError, ValueError):
            found = ()
        if len(found) != len(self._index):
            raise MlcError(
                f"a shape per input is needed ({', '.join(self._index)})", remedy="As in threads_of((3, 64))."
            )
        return self._binder.bind(found).threads

    def shares(self, *shapes: Sequence[int]) -> list[int]:
        """How many threads work on each step of the plan in such a call."""
        table = self._binder.bind(tuple(tuple(shape) for shape in shapes)).table
        first = 1 + len(self.plan.sizes)  # behind scratch and sizes
        return [1 if step.launch is None else 1 + int(table[first + step.launch]) for step in self.plan.steps]

    def trim(self) -> int:
        """Give back the memory that is kept for the next calls, and return how many bytes that were. Calls that are under way keep theirs;
        the next call asks for its own again."""
        freed = 0
        while self._free:
            try:
                workspace = self._free.pop()
            except IndexError:  # a call on another thread took the last
                break
            freed += workspace.bytes
        return_free_memory()
        return freed

    # Calls -----------------------------------------------------------------------------------------------------------
    def __call__(self, /, *arrays: Any, **named: Any) -> np.ndarray | tuple[np.ndarray, ...]:
        """The output, or the tuple of outputs, for one array per input, in order or by name."""
        outputs = self._call(in_order(self._index, arrays, named) if named else arrays)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def run(
        self, output_names: Sequence[str] | None = None, inputs: Mapping[str, Any] | None = None
    ) -> list[np.ndarray]:
        """The outputs named (all of them for None), in that order, for inputs by name."""
        require_outputs(self._output_index, output_names)
        require_inputs(self._index, inputs)
        outputs = self._call([inputs[name] for name in self._index])  # type: ignore[index]  # None is none of them
        return outputs if output_names is None else [outputs[self._output_index[name]] for name in output_names]

    def run_apart(self, inputs: Mapping[str, Any]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """As `run`, with no memory shared: the outputs, and what each buffer of the plan holds after the call, as bytes."""
        apart = tuple(replace(life, first=0, last=len(self.plan.buffers)) for life in self.plan.buffers)
        plan = replace(self.plan, buffers=apart)
        copy = Executable(replace(self.artifact, plan=plan, report={}), self.threads)
        outputs = copy.run(None, self.unshared(inputs))
        binding, memory = next(iter(copy._bindings.values())), copy._machine.arena(copy._free[0])
        sizes = [dims.evaluate(life.bytes, binding.symbols) for life in apart]
        return outputs, [
            memory[start : start + size].copy() for start, size in zip(binding.offsets, sizes, strict=True)
        ]

    def _call(self, values: Sequence[Any], run: Run | None = None) -> list[np.ndarray]:
        """Plain loops and few calls, for this is all the Python of a call (`benchmarks.symbolic` times it)."""
        dtypes = self._input_dtypes
        if len(values) != len(dtypes):
            in_order(self._index, values, {})  # says which are needed
        try:
            workspace = self._free.pop()
        except IndexError:
            workspace = self.workspace()
        io, place = workspace.io, self._place
        shapes, arrays, number = (
            [],
            [],
            0,
        )  # the arrays, converted where need be, live as long as native code reads them
        for value in values:
            dtype = dtypes[number]
            if type(value) is not ndarray or value.dtype is not dtype or not value.flags.carray:
                value = self.argument(number, value)
            arrays.append(value)
            shapes.append(value.shape)
            io[number] = place(value)
            number += 1  # noqa: SIM113  enumerate makes a call of ten inputs 0.2 us longer
        key = tuple(shapes)
        binding = self._bindings.get(key) or self._binder.bind(key)
        outputs = self._nothing.copy()
        if self._aliases:
            require_apart(arrays, self._written, list(self._index), place)
            for output, source in self._aliases.items():
                outputs[output] = arrays[source]
        if self._own:
            workspace.answer_where(arrays)
        found = self.launch(workspace, binding, arrays, outputs, self._fresh, run)
        if len(self._free) < _WORKSPACES:
            self._free.append(workspace)
        return found

    def bind(self, shapes: Shapes) -> Binding:
        """The sizes of a call with inputs of these shapes. Raises ShapeError where they do not fit."""
        return self._bindings.get(shapes) or self._binder.bind(shapes)

    def argument(self, number: int, value: Any) -> Any:
        """The value of an input as an array that the machine can use. Raises MlcError where there is none."""
        spec, dtype = self.plan.inputs[number], self._input_dtypes[number]
        if number in self._written:
            return self.space.updated(value, dtype, spec.name, self._written[number])
        return self.space.argument(value, dtype, spec.name)

    def launch(
        self,
        workspace: Any,
        binding: Binding,
        arrays: Sequence[np.ndarray],
        outputs: list[Any],
        fresh: Sequence[int],
        run: Run | None = None,
    ) -> list[np.ndarray]:
        """Run the code, whose pointers to inputs are in the workspace. `outputs` has the arrays of results that have memory already; those
        whose numbers are in `fresh` get some."""
        if binding.positions:
            require_inside(binding.positions, arrays, self.space.numpy)
        if self._own:
            return self._launch_apart(workspace, binding, arrays, outputs, fresh, run or self._run)
        memories, types, io, first = workspace.outputs, self._output_types, workspace.io, len(arrays)
        for number in fresh:
            shape, dtype, bytes = binding.outputs[number]
            memory = memories[number]
            if memory.bytes != bytes or getrefcount(memory.block) != UNUSED:
                memory = Memory(bytes)
                if bytes <= _REUSED:
                    memories[number] = memory
            outputs[number] = types[number](shape, dtype, memory.block, memory.offset)
            io[first + number] = memory.place
        if self._special:
            return self._run_special(workspace, binding, arrays, outputs, fresh, run or self._run)
        (run or self._run)(workspace, binding, binding.address)
        return outputs

    def _launch_apart(
        self,
        workspace: Any,
        binding: Binding,
        arrays: Sequence[Any],
        outputs: list[Any],
        fresh: Sequence[int],
        run: Run,
    ) -> list[Any]:
        """As `launch`, on a machine with memory of its own, whose workspace makes the outputs."""
        workspace.take(binding, arrays, outputs, fresh)
        try:
            if not self._counts:
                run(workspace, binding, binding.address)
                return outputs
            table = type(binding.table).from_buffer_copy(binding.table)
            run(workspace, binding, ctypes.addressof(table))
            return self._counted(binding, table, outputs)
        finally:
            workspace.leave()

    def _run_special(
        self,
        workspace: Any,
        binding: Binding,
        arrays: Sequence[np.ndarray],
        outputs: list[Any],
        fresh: Sequence[int],
        run: Run,
    ) -> list[np.ndarray]:
        """Where results begin with inputs, or a run counts sizes."""
        if self._fronts:
            self._put_in_front(workspace, arrays, outputs, fresh)
        if self._counts:
            table = type(binding.table).from_buffer_copy(binding.table)  # the entry writes what it counts
            run(workspace, binding, ctypes.addressof(table))
            return self._counted(binding, table, outputs)
        run(workspace, binding, binding.address)
        return outputs

    def _put_in_front(
        self, workspace: Any, arrays: Sequence[np.ndarray], outputs: Sequence[Any], fresh: Sequence[int]
    ) -> None:
        """Copy inputs to where the results that begin with them lie."""
        for output, source in self._fronts.items():
            if output in fresh:
                outputs[output][: len(arrays[source])] = arrays[source]
                workspace.io[source] = workspace.io[len(arrays) + output]

    def unshared(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The inputs of a call that shall leave them as they are: copies of those that it would update."""
        written = {self.plan.inputs[number].name for number in self._written}
        return {name: np.array(value, order="C") if name in written else value for name, value in inputs.items()}

    def _counted(
        self, binding: Binding, table: ctypes.Array[ctypes.c_int64], outputs: list[np.ndarray]
    ) -> list[np.ndarray]:
        """Outputs cut to what the call counted; their rows lie one behind the other at the start of the memory."""
        symbols = {**binding.symbols, **{name: table[place] for name, place in self._counts.items()}}
        self._binder.solver.test_counted(symbols)
        found = []
        for array, spec in zip(outputs, self.plan.outputs, strict=True):
            shape = tuple(dims.evaluate(extent, symbols) for extent in spec.shape)
            found.append(array if shape == array.shape else self.space.front(array, shape))
        return found


def load_package(path: str | os.PathLike[str], threads: int | None = None) -> Executable:
    """The executable in a package. Raises InvalidModel for a file that is damaged or none, TargetUnavailable where its code does not run
    on this machine."""
    return loaded(read(path), threads)


def loaded(package: Package, threads: int | None = None) -> Executable:
    """Raises TargetUnavailable where the code does not run on this machine, InvalidModel where it is no code."""
    try:
        return Executable(package, threads)
    except InternalError as error:  # its objects do not link or lack the entry
        raise InvalidModel(
            f"{package.path} is damaged: {error}", file=package.path, remedy="Compile the model again."
        ) from error


def _restored(content: bytes, threads: int | None) -> Executable:
    return loaded(from_bytes(content), threads)


def _node(spec: TensorSpec) -> NodeArg:
    return NodeArg(spec.name, [e if isinstance(e, int) else str(e) for e in spec.shape], DTYPES[spec.dtype][1])
