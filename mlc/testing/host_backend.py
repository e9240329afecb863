"""Whole models for GPUs on this CPU: their CUDA C, compiled by g++, launched as the plan says.

    exe = mlc.compile(model, target="cuda-on-cpu")     # needs neither nvcc nor a GPU
    exe = on_host(mlc.load_executable("model.mlc"))    # what was compiled for target cuda

The target is cuda's in all that schedules and sources see. It is registered where mlc.testing is imported.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from os import PathLike
from typing import Any, ClassVar

import numpy as np

from mlc.backends import Backend, backend, register_backend
from mlc.codegen.cuda.compiled import Compiled
from mlc.codegen.cuda.cuda_generator import CudaGenerator
from mlc.codegen.cuda.launches import LaunchTable
from mlc.codegen.llvm.cache import ObjectCache
from mlc.errors import InternalError, MlcError, TargetUnavailable
from mlc.ir import dims
from mlc.ir.kernel.cuda_target import CudaTarget
from mlc.ir.kernel.kernel import Kernel
from mlc.ir.kernel.places import Argument
from mlc.ir.kernel.plan import Copy, Step
from mlc.ir.kernel.schedule import Schedule
from mlc.ir.kernel.target import Target
from mlc.ir.processors import available_cpus
from mlc.runtime.arrays import Memory, address, in_place
from mlc.runtime.artifact import Artifact
from mlc.runtime.binding import Binding
from mlc.runtime.executable import Executable
from mlc.runtime.machines import Run, Workspace
from mlc.runtime.space import HOST
from mlc.runtime.steered import ValueOf, Walk
from mlc.testing import host_build
from mlc.testing.host_module import ORDERS, HostModule, Order, load_runtime


@dataclass(frozen=True)
class HostTarget(CudaTarget):
    """A GPU as schedules see it, and in which order this machine runs what is compiled for it."""

    order: Order = ORDERS[0]
    kind: ClassVar[str] = "cuda-on-cpu"

    def missing(self) -> list[str]:
        return [why] if (why := host_build.available()) else []

    @staticmethod
    def of(gpu: CudaTarget, order: Order = ORDERS[0]) -> HostTarget:
        known = {field.name: getattr(gpu, field.name) for field in fields(CudaTarget)}
        return HostTarget(**known, order=order)


class HostRules:
    """Those of target cuda."""

    def __init__(self) -> None:
        self.cuda = backend("cuda").rules

    def target(self, arch: str) -> HostTarget:
        gpu = self.cuda.target(arch)
        assert isinstance(gpu, CudaTarget)
        return HostTarget.of(gpu)

    def choose(self, kernel: Kernel, target: Target) -> Schedule:
        return self.cuda.choose(kernel, target)

    def plain(self, kernel: Kernel) -> Schedule:
        return self.cuda.plain(kernel)


class HostGenerator(CudaGenerator):
    """Sources and launches alone: nvcc is not asked."""

    @property
    def emits(self) -> Mapping[str, str]:
        return {"cuda": ".cu"}

    def machine_code(
        self, texts: Sequence[str], gpu: CudaTarget, denormals: str, cache: ObjectCache | None
    ) -> list[Compiled]:
        return [Compiled({}, {}) for _ in texts]


class HostWorkspace(Workspace):
    """With the arena of one call."""

    memory = Memory(0)


@dataclass(frozen=True)
class HostLaunch:
    """One launch; pointers are addresses."""

    module: HostModule
    symbol: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    values: tuple[int, ...]
    shared: int

    def issue(self, order: Order, shared_limit: int) -> None:
        self.module.launch(
            self.symbol,
            self.grid,
            self.block,
            self.values,
            shared=self.shared,
            order=order,
            shared_limit=shared_limit,
        )


class HostMachine:
    """A machine as mlc.runtime.machines.Machine has it, of the sources and the table of launches in an artifact."""

    threads, grain = 1, 1 << 62
    space = HOST

    def __init__(self, artifact: Artifact):
        assert isinstance(artifact.target, HostTarget)
        self.target: Target = artifact.target
        self.order, self.shared_limit = artifact.target.order, artifact.target.shared_block
        self.plan = artifact.plan
        if missing := self.target.missing():
            raise TargetUnavailable(f"code of target {self.target.kind} does not run here: {missing[0]}")
        try:
            self.table = LaunchTable.from_bytes(artifact.objects[0])
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InternalError(f"its table of launches cannot be read: {error}") from error
        texts = [artifact.objects[file.source].decode() for file in self.table.files]
        load_runtime()  # before threads would load it twice
        with ThreadPoolExecutor(max(1, available_cpus())) as pool:
            self.modules = list(pool.map(lambda text: HostModule(text, flush=True), texts))
        self.grids = {
            launch.symbol: tuple(map(dims.parse, launch.grid))
            for code in self.table.kernels.values()
            for launch in code.launches
        }
        self.counts = [dims.ceiling(dims.parse(text), self.plan.counted) for text in self.table.counts]
        self.before_launch: Callable[[HostCall, Step, HostLaunch], None] | None = None
        self.read(artifact.weights.__getitem__)

    def read(self, get: Callable[[str], np.ndarray]) -> None:
        self._weights = {key: in_place(get(key)) for key in self.plan.weights}

    @property
    def weights(self) -> Mapping[str, np.ndarray]:
        return self._weights

    def workspace(self) -> HostWorkspace:
        return HostWorkspace(len(self.plan.inputs), len(self.plan.outputs))

    def arena(self, workspace: HostWorkspace) -> np.ndarray:
        memory = workspace.memory
        return memory.block[memory.offset : memory.offset + memory.bytes]

    def timed(self) -> tuple[Run, Callable[[], Sequence[tuple[float, float]]]]:
        raise MlcError(f"target {self.target.kind} takes no times: they would say nothing of a GPU")

    def run(self, workspace: HostWorkspace, binding: Binding, table: Any) -> None:
        for count in self.counts:
            if (elements := dims.evaluate(count, binding.symbols)) >= 1 << 31:
                raise MlcError(f"a tensor has {elements} elements at these sizes, and kernels count to 2147483647")
        if workspace.memory.bytes < binding.arena:
            workspace.memory = Memory(binding.arena)
        call = HostCall(self, workspace, binding)
        if not self.plan.straight:
            return Walk(self.plan, binding, type(binding.table).from_address(table), call).run()
        sizes = dict(zip(self.plan.sizes, binding.sizes, strict=True))

        def known(argument: Argument) -> int:
            at = argument.at
            if argument.kind == "size":
                return at if isinstance(at, int) else sizes[at]
            assert isinstance(at, int)
            return call.address(argument.kind, at)

        for item in self.plan.sequence:
            if isinstance(item, Step):
                call.launch(item, known)
            else:
                call.move(item, known)


class HostCall:
    """What one call has done: launches, copies and single elements, as mlc.runtime.steered.Issuing has it."""

    def __init__(self, machine: HostMachine, workspace: HostWorkspace, binding: Binding):
        self.machine, self.workspace, self.binding = machine, workspace, binding
        self.plan = machine.plan
        self.weights = list(machine.weights.values())  # alive while kernels read them

    def address(self, kind: str, number: int) -> int:
        match kind:
            case "input":
                return self.workspace.io[number] or 0
            case "output":
                return self.workspace.io[len(self.plan.inputs) + number] or 0
            case "weight":
                return address(self.weights[number])
            case "buffer":
                return self.workspace.memory.place + self.binding.offsets[number]
        assert kind == "scratch", kind
        return self.workspace.memory.place

    def call(self, number: int, known: ValueOf) -> None:
        self.launch(self.plan.steps[number], known)

    def copy(self, number: int, known: ValueOf) -> None:
        self.move(self.plan.copies[number], known)

    def load(self, address: int, type: str) -> int:
        return int(_ELEMENTS[type].from_address(address).value)

    def store(self, address: int, type: str, value: int) -> None:
        _ELEMENTS[type].from_address(address).value = value

    def launch(self, step: Step, known: ValueOf) -> None:
        """The launches of a step; those without blocks are left out."""
        machine = self.machine
        code = machine.table.kernels[step.kernel]
        module = machine.modules[code.file]
        for launch in code.launches:
            parameters = iter(module.parameters[launch.symbol])
            values, extents = [], []
            for argument in step.arguments:
                value = known(argument)
                values.append(value)
                if not next(parameters).pointer and argument.kind in ("size", "computed"):
                    extents.append(value)
                for stride in argument.strides:
                    values.append(known(Argument("size", stride)))
                    next(parameters)
            sizes = dict(zip(code.extents, extents, strict=True))
            x, y, z = (dims.evaluate(extent, sizes) for extent in machine.grids[launch.symbol])
            if min(x, y, z) <= 0:
                continue
            made = HostLaunch(module, launch.symbol, (x, y, z), launch.block, tuple(values), launch.shared)
            if machine.before_launch is not None:
                machine.before_launch(self, step, made)
            made.issue(machine.order, machine.shared_limit)

    def move(self, copy: Copy, known: ValueOf) -> None:
        ctypes.memmove(known(copy.target), known(copy.source), known(Argument("size", copy.bytes)))


_ELEMENTS: dict[str, Any] = {
    "i1": ctypes.c_bool,
    "i8": ctypes.c_int8,
    "i16": ctypes.c_int16,
    "i32": ctypes.c_int32,
    "i64": ctypes.c_int64,
    "index": ctypes.c_int64,
}


class HostLoader:
    def target(self, facts: Mapping[str, Any]) -> HostTarget:
        return HostTarget(**{**facts, "order": Order(**facts["order"])})

    def lacking(self) -> list[str]:
        return []

    def load(self, artifact: Artifact, threads: int | None) -> HostMachine:
        return HostMachine(artifact)

    def export_library(self, artifact: Artifact, path: str | PathLike[str], header: str | PathLike[str] | None) -> None:
        raise TargetUnavailable(f"target {HostTarget.kind} writes no shared library")


BACKEND = register_backend(
    Backend(HostTarget.kind, "CUDA C on this machine, for tests", HostRules(), HostGenerator(), HostLoader())
)


def on_host(exe: Executable, order: Order = ORDERS[0]) -> Executable:
    """The executable of a model that is compiled for target cuda, on this machine: blocks and threads take turns in this order.

    Raises MlcError for one that is compiled for something else.
    """
    if not isinstance(exe.target, CudaTarget):
        raise MlcError(
            f"the executable is for {exe.target.name}", remedy='Compile it with target="cuda" or "cuda-on-cpu".'
        )
    return Executable(replace(exe.artifact, target=HostTarget.of(exe.target, order)))
