"""Calls on a GPU: modules, weights and functions once for the executable; a stream, an arena and staging memory for each call at a time.

A call copies what lies in host memory to the GPU, launches the kernels, and copies back what is wanted there; all of it is one sequence of
work on one stream. The second call with the same sizes and addresses records the sequence as a CUDA graph, later ones replay it.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from sys import getrefcount
from threading import Lock
from typing import Any

import numpy as np

from mlc.codegen.cuda.launches import LaunchTable, best_code
from mlc.errors import InternalError, MlcError, TargetUnavailable
from mlc.ir.kernel.plan import Plan
from mlc.runtime.arrays import UNUSED, Memory, in_place
from mlc.runtime.artifact import Artifact
from mlc.runtime.binding import KEPT, Binding
from mlc.runtime.cuda.device_arrays import DeviceArray, DeviceSpace, words
from mlc.runtime.cuda.device_memory import DeviceMemory
from mlc.runtime.cuda.device_walk import Steering
from mlc.runtime.cuda.device_work import Launch, Move, Places, Worker
from mlc.runtime.cuda.driver import Device, Held, pycuda
from mlc.runtime.cuda.graph import Graph, record
from mlc.runtime.cuda.staging import Layout, Staging
from mlc.runtime.machines import Run, Workspace
from mlc.runtime.space import HOST
from mlc.runtime.steered import Walk

GRAPHS = 16  # that a workspace keeps
_SEEN = 64  # calls that are remembered, should they come again
_BOUNDARY = 256
_STATIC_SHARED = 48 << 10  # what a block may have without a word to the driver


class Code(Held):
    """The modules of an artifact in the context, and their functions by symbol."""

    def __init__(self, gpu: Device, table: LaunchTable, objects: Sequence[bytes]):
        super().__init__(gpu)
        images = [objects[_code_for(gpu, table, number)] for number in range(len(table.files))]
        cu = pycuda()
        self.functions: dict[str, Any] = {}
        with gpu.active:
            try:
                self.modules = [cu.module_from_buffer(image) for image in images]
                for code in table.kernels.values():
                    for launch in code.launches:
                        function = self.modules[code.file].get_function(launch.symbol)
                        if launch.shared > _STATIC_SHARED:
                            function.set_attribute(cu.function_attribute.MAX_DYNAMIC_SHARED_SIZE_BYTES, launch.shared)
                        self.functions[launch.symbol] = function
            except cu.MemoryError as error:
                raise MlcError(f"{gpu} has no memory left for the code: {error}") from error
            except cu.Error as error:
                raise _unloadable(error, gpu, table) from error


class Weights:
    """Weights of a plan: as arrays of the host, and on the GPU once they are wanted there."""

    def __init__(self, keys: Sequence[str], get: Callable[[str], np.ndarray], before: Weights | None = None):
        self.arrays = {key: in_place(get(key)) for key in keys}
        self.before: Weights | None = (
            before if before is None or before.places else before.before
        )  # whose memory serves for weights that are the same
        self.places: list[int] | None = None
        self.blocks: dict[str, tuple[int, Any]] = {}  # key -> address, what owns it
        self._lock = Lock()

    def uploaded(self, gpu: Device) -> list[int]:
        """Addresses on the GPU, in the order of the plan. The context is current."""
        with self._lock:
            if self.places is None:
                self._upload(gpu)
            assert self.places is not None
            return self.places

    def _upload(self, gpu: Device) -> None:
        before, self.before = self.before, None
        kept = {} if before is None else before.blocks
        new = []
        for key, array in self.arrays.items():
            if before is not None and key in kept and before.arrays[key] is array:
                self.blocks[key] = kept[key]
            else:
                new.append(key)
        offsets, size = [], 0
        for key in new:
            offsets.append(size)
            size += -(-self.arrays[key].nbytes // _BOUNDARY) * _BOUNDARY
        memory = DeviceMemory(gpu, size, "the weights")
        for key, offset in zip(new, offsets, strict=True):
            array = self.arrays[key]
            if array.nbytes:
                pycuda().memcpy_htod(memory.place + offset, words(array))
            self.blocks[key] = memory.place + offset, memory.block
        self.places = [self.blocks[key][0] for key in self.arrays]


class _Stream(Held):
    def __init__(self, gpu: Device):
        super().__init__(gpu)
        cu = pycuda()
        with gpu.active:
            self.stream = cu.Stream(_NON_BLOCKING)
            self.event = cu.Event(cu.event_flags.DISABLE_TIMING)

    def wait_for_others(self) -> None:
        """Work that is on the default stream comes first."""
        self.event.record()
        self.stream.wait_for_event(self.event)


_NON_BLOCKING = 1  # the default stream of other libraries does not wait for it, nor break a recording


class CudaWorkspace(Workspace):
    """With a stream, the arena, the staging memory, and what was recorded for it."""

    def __init__(self, gpu: Device, plan: Plan):
        super().__init__(len(plan.inputs), len(plan.outputs))
        self.gpu = gpu
        self.aliases, self.fronts = plan.aliases, plan.fronts
        self.held = _Stream(gpu)
        self.staging = Staging(gpu)
        self.memory: DeviceMemory | None = None
        self.weights: Weights | None = None
        self.graphs: OrderedDict[object, Graph] = OrderedDict()
        self.seen: OrderedDict[object, None] = OrderedDict()
        self.on_device = False
        self.arrays: Sequence[Any] = ()
        self.results: Sequence[Any] = ()
        self.kept: dict[int, DeviceMemory] = {}  # of the last outputs on the GPU

    @property
    def bytes(self) -> int:
        arena = self.memory.bytes if self.memory else 0
        return super().bytes + arena + 2 * self.staging.bytes + sum(memory.bytes for memory in self.kept.values())

    # The arrays of a call --------------------------------------------------------------------------------------------
    def answer_where(self, given: Sequence[Any]) -> None:
        self.on_device = any(type(array) is DeviceArray for array in given)

    def take(self, binding: Binding, arrays: Sequence[Any], outputs: list[Any], fresh: Sequence[int]) -> None:
        for number in fresh:
            shape, dtype, bytes = binding.outputs[number]
            if self.on_device:
                memory = self.kept.get(number)
                if memory is None or memory.bytes != bytes or getrefcount(memory.block) != UNUSED:
                    self.kept.pop(number, None)
                    memory = self.kept[number] = DeviceMemory(self.gpu, bytes, "outputs")
                outputs[number] = DeviceArray(self.gpu, shape, dtype, memory.block, memory.place)
            else:
                outputs[number] = HOST.array(shape, dtype, Memory(bytes))
        self.arrays, self.results = arrays, outputs

    def leave(self) -> None:
        self.arrays = self.results = ()

    # Memory ----------------------------------------------------------------------------------------------------------
    def reserve(self, binding: Binding, weights: Weights, bytes: int) -> None:
        """Memory for calls at these sizes that read these weights. What was recorded with other addresses goes."""
        stale = self.staging.reserve(bytes)
        if self.memory is None or self.memory.bytes < binding.arena:
            self.memory = None
            self.graphs.clear()
            at = ", ".join(f"{name} = {size}" for name, size in binding.symbols.items())
            self.memory = DeviceMemory(self.gpu, binding.arena, f"intermediate results{at and f' at {at}'}")
            stale = True
        if self.weights is not weights:
            self.weights, stale = weights, True
        if stale:
            self.graphs.clear()
            self.seen.clear()


class Clock:
    """Takes the time of each launch between two events of the stream, and adds it to that of its step."""

    def __init__(self, times: np.ndarray):
        self.times = times
        self.taken: list[tuple[Launch, Any, Any]] = []

    def take(self, work: Launch, places: Places, stream: Any) -> None:
        begin, end = pycuda().Event(), pycuda().Event()
        begin.record(stream)
        work.issue(places, stream)
        end.record(stream)
        self.taken.append((work, begin, end))

    def read(self) -> None:
        """Nanoseconds, and a turn for each time that a step came; the work is done and the context current."""
        for work, begin, end in self.taken:
            self.times[work.step] += 1e6 * begin.time_till(end), work.first  # milliseconds
        self.taken.clear()


class CudaMachine:
    """A machine as mlc.runtime.machines.Machine has it. The driver is asked, and the code loaded, when the first workspace is made."""

    threads, grain = 1, 1 << 62

    def __init__(self, artifact: Artifact):
        self.target = artifact.target
        self.plan = artifact.plan
        try:
            self.table = LaunchTable.from_bytes(artifact.objects[0])
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InternalError(f"its table of launches cannot be read: {error}") from error
        self.objects = artifact.objects
        _require_whole(self.table, self.plan, len(self.objects))
        self.space = DeviceSpace()
        self._current = Weights(self.plan.weights, artifact.weights.__getitem__)
        self._worker: Worker | None = None
        self._works: OrderedDict[Binding, list[Launch | Move]] = OrderedDict()
        self._code: Code | None = None
        self.graphs = _graphs()
        self._lock = Lock()

    @property
    def weights(self) -> Mapping[str, np.ndarray]:
        return self._current.arrays

    def read(self, get: Callable[[str], np.ndarray]) -> None:
        self._current = Weights(self.plan.weights, get, before=self._current)

    def workspace(self) -> CudaWorkspace:
        gpu = self.space.gpu
        gpu.require_alive()
        with self._lock:
            if self._code is None:
                self._code = Code(gpu, self.table, self.objects)
                self._worker = Worker(self.plan, self.table, self._code.functions, pycuda().memcpy_dtod_async)
        return CudaWorkspace(gpu, self.plan)

    def arena(self, workspace: CudaWorkspace) -> np.ndarray:
        memory = workspace.memory
        assert memory is not None
        whole = DeviceArray(workspace.gpu, (memory.bytes,), np.dtype(np.uint8), memory.block, memory.place)
        return whole.numpy()

    def run(self, workspace: CudaWorkspace, binding: Binding, table: Any) -> None:
        self._run(workspace, binding, table, None)

    def timed(self) -> tuple[Run, Callable[[], Sequence[tuple[float, float]]]]:
        times = np.zeros((len(self.plan.steps), 2))

        def run(workspace: CudaWorkspace, binding: Binding, table: Any) -> None:
            self._run(workspace, binding, table, times)

        return run, lambda: [(float(nanoseconds), float(turns)) for nanoseconds, turns in times]

    # One call --------------------------------------------------------------------------------------------------------
    def _run(self, workspace: CudaWorkspace, binding: Binding, table: Any, times: np.ndarray | None) -> None:
        gpu, worker = workspace.gpu, self._worker
        assert worker is not None
        gpu.require_alive()
        worker.require_countable(binding)
        arrays, weights, stream = workspace.arrays, self._current, workspace.held.stream
        layout = Layout(arrays, workspace.results, workspace.aliases)
        clock = None if times is None else Clock(times)
        with gpu.active:
            try:
                workspace.reserve(binding, weights, layout.bytes)
                places = self._places(workspace, binding, layout, weights.uploaded(gpu))
                layout.put(workspace.staging, arrays)
                if any(type(array) is DeviceArray for array in arrays):
                    workspace.held.wait_for_others()

                def put(work: Launch | Move) -> None:
                    try:
                        if clock is None or isinstance(work, Move):
                            work.issue(places, stream)
                        else:
                            clock.take(work, places, stream)
                    except pycuda().Error as error:
                        raise gpu.error(error, str(work)) from error

                def issue() -> None:
                    layout.issue_to(workspace.staging, stream)
                    self._fronts(workspace, places, stream)
                    if self.plan.steered is None:
                        for work in self._works_of(binding):
                            put(work)
                    else:
                        machine = Steering(worker, places, stream, put)
                        Walk(self.plan, binding, type(binding.table).from_address(table), machine).run()
                    layout.issue_back(workspace.staging, stream)

                if clock is None and self.plan.steered is None:
                    self._issue(workspace, (binding, *places.inputs, *places.outputs), issue)
                else:
                    issue()
                stream.synchronize()
                if clock is not None:
                    clock.read()
                layout.take(workspace.staging, arrays, workspace.results)
            except pycuda().Error as error:
                names = list(dict.fromkeys(step.kernel for step in self.plan.steps))
                doing = f"kernel '{names[0]}'" if len(names) == 1 else f"one of {len(names)} kernels"
                raise gpu.error(error, doing) from error

    def _places(self, workspace: CudaWorkspace, binding: Binding, layout: Layout, weights: Sequence[int]) -> Places:
        mirror = workspace.staging.mirror.place if workspace.staging.mirror else 0
        inputs = [
            array.place if type(array) is DeviceArray else mirror + layout.inputs[number]
            for number, array in enumerate(workspace.arrays)
        ]
        outputs = [
            inputs[workspace.aliases[number]]
            if number in workspace.aliases
            else array.place
            if type(array) is DeviceArray
            else mirror + layout.outputs[number]
            for number, array in enumerate(workspace.results)
        ]
        assert workspace.memory is not None
        return Places(inputs, outputs, weights, workspace.memory.place, binding.offsets)

    def _fronts(self, workspace: CudaWorkspace, places: Places, stream: Any) -> None:
        """Results that begin with inputs: those come to where their memory begins."""
        for output, source in workspace.fronts.items():
            bytes, target = workspace.arrays[source].nbytes, places.outputs[output]
            if bytes and places.inputs[source] != target:
                pycuda().memcpy_dtod_async(target, places.inputs[source], bytes, stream)

    def _issue(self, workspace: CudaWorkspace, key: object, issue: Callable[[], None]) -> None:
        """By a recording, where the same call came before."""
        graphs, stream = workspace.graphs, workspace.held.stream
        graph = graphs.get(key)
        if graph is None and key in workspace.seen and self.graphs:
            graph = graphs[key] = record(workspace.gpu, stream, issue)
            while len(graphs) > self.graphs:
                graphs.popitem(last=False)
        if graph is not None:
            graphs.move_to_end(key)
            graph.launch(stream)
            return
        workspace.seen[key] = None
        while len(workspace.seen) > _SEEN:
            workspace.seen.popitem(last=False)
        issue()

    def _works_of(self, binding: Binding) -> list[Launch | Move]:
        """Of a straight plan."""
        found = self._works.get(binding)
        if found is None:
            assert self._worker is not None
            found = self._worker.works(binding)
            with self._lock:
                self._works[binding] = found
                while len(self._works) > KEPT:
                    self._works.popitem(last=False)
        return found


def _graphs() -> int:
    """How many recordings a workspace keeps. Raises MlcError for no number."""
    text = os.environ.get("MLC_CUDA_GRAPHS", str(GRAPHS))
    if not text.isdigit():
        raise MlcError(f"MLC_CUDA_GRAPHS is '{text}'", remedy="Give how many recordings are kept: 0 is none.")
    return int(text)


def _require_whole(table: LaunchTable, plan: Plan, objects: int) -> None:
    """Raises InternalError where a step of the plan has no code, or code that takes other arguments."""
    for step in plan.steps:
        code = table.kernels.get(step.kernel)
        if code is None or not 0 <= code.file < len(table.files):
            raise InternalError(f"it has no code of the kernel '{step.kernel}'")
        if len(code.extents) > sum(argument.kind in ("size", "computed") for argument in step.arguments):
            raise InternalError(f"its code of the kernel '{step.kernel}' takes other sizes than the plan gives")
    if any(not 0 < number < objects for file in table.files for number in file.code.values()):
        raise InternalError("its table of launches names code that is not there")


def _code_for(gpu: Device, table: LaunchTable, file: int) -> int:
    """The number of the object that is a file's code for the GPU. Raises TargetUnavailable where there is none."""
    found = best_code(table.files[file].code, gpu.capability)
    if found is None or not any(runs_on(arch, gpu.capability) for arch in table.archs):
        raise _for_others(gpu, table)
    return found


def runs_on(arch: str, capability: int) -> bool:
    """Machine code runs on its own architecture and later ones of its generation, PTX ("compute_80") on all later ones; what ends in a letter
    on its own alone."""
    kind, _, number = arch.partition("_")
    if not number.isdigit():
        return number[:-1] == str(capability)
    version = int(number)
    return version <= capability and (kind == "compute" or version // 10 == capability // 10)


def _for_others(gpu: Device, table: LaunchTable, said: str = "") -> TargetUnavailable:
    return TargetUnavailable(
        f"the code is for {', '.join(table.archs) or 'no GPU'}, and {gpu} runs none of these{said and f': {said}'}",
        remedy=f"Compile it for this GPU: --arch sm_{gpu.capability}.",
    )


def _unloadable(error: Exception, gpu: Device, table: LaunchTable) -> Exception:
    text = str(error)
    if "PTX" in text and "version" in text:
        return TargetUnavailable(
            f"the driver is too old for the code: {text}",
            remedy=f"Update the driver, or compile machine code for {gpu}: --arch sm_{gpu.capability}.",
        )
    if "no kernel image" in text or "no binary" in text:
        return _for_others(gpu, table, text)
    return InternalError(f"the driver refuses the code: {text}")
