"""The launches of a whole model, one by one with their arguments, to be checked and counted as if they were written by hand.

    for launch in recorded(exe, x):                       # an executable of target cuda-on-cpu, and its inputs
        launch.check_races().require_clean()
        launch.check_memory().require_clean()
        launch.watch().shared_uses()

Each pointer is an array that ends where its buffer ends: what is read or written behind it is found.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from mlc.errors import MlcError
from mlc.ir import dims
from mlc.ir.kernel.plan import Step
from mlc.runtime.arrays import DTYPES, address
from mlc.runtime.executable import Executable
from mlc.testing.accesses import Accesses, watch
from mlc.testing.host_backend import HostCall, HostLaunch, HostMachine
from mlc.testing.host_module import HostModule, Order, Parameter
from mlc.testing.sanitizers import CheckReport, check_memory, check_races


@dataclass(frozen=True)
class RecordedLaunch:
    """One launch of a model with copies of its arguments, as they were before it."""

    module: HostModule
    step: str  # the kernel of the plan
    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    args: tuple[Any, ...]
    shared: int

    @property
    def _launch(self) -> tuple[Any, ...]:
        taken: dict[int, np.ndarray] = {}
        args = [
            taken.setdefault(id(arg), arg.copy()) if isinstance(arg, np.ndarray) else arg for arg in self.args
        ]  # an array that is given twice stays one
        return self.module, self.kernel, self.grid, self.block, args

    def check_races(self, order: Order = Order()) -> CheckReport:  # noqa: B008 (frozen)
        return check_races(*self._launch, shared=self.shared, order=order)

    def check_memory(self, order: Order = Order()) -> CheckReport:  # noqa: B008
        return check_memory(*self._launch, shared=self.shared, order=order)

    def watch(self, table: bool = True) -> Accesses:
        return watch(*self._launch, shared=self.shared, table=table)


def recorded(exe: Executable, *inputs: Any) -> list[RecordedLaunch]:
    """Run a model and keep its launches. Raises MlcError for an executable of another target."""
    machine = exe._machine
    if not isinstance(machine, HostMachine):
        raise MlcError(
            f"the executable is for {exe.target.name}", remedy='Compile it with target="cuda-on-cpu", or see on_host.'
        )
    found: list[RecordedLaunch] = []
    machine.before_launch = lambda call, step, launch: found.append(_recorded(call, step, launch))
    try:
        exe(*inputs)
    finally:
        machine.before_launch = None
    return found


def _recorded(call: HostCall, step: Step, launch: HostLaunch) -> RecordedLaunch:
    spans = list(_spans(call))
    taken: dict[int, np.ndarray] = {}
    args: list[Any] = []
    for value, parameter in zip(launch.values, launch.module.parameters[launch.symbol], strict=True):
        if parameter.pointer and value not in taken:
            taken[value] = _copied(value, spans, parameter)
        args.append(taken[value] if parameter.pointer else value)
    return RecordedLaunch(
        launch.module, step.kernel, launch.symbol, launch.grid, launch.block, tuple(args), launch.shared
    )


def _spans(call: HostCall) -> Iterator[tuple[int, int]]:
    """Address and bytes of every buffer, input, output and weight of a call, and of the scratch memory."""
    plan, binding = call.plan, call.binding
    for number, life in enumerate(plan.buffers):
        yield call.address("buffer", number), dims.evaluate(dims.ceiling(life.bytes, plan.counted), binding.symbols)
    for number, spec in enumerate(plan.inputs):
        elements = dims.evaluate(dims.prod(spec.shape), binding.symbols)
        yield call.address("input", number), elements * DTYPES[spec.dtype][0].itemsize
    for number, (shape, dtype, _) in enumerate(binding.outputs):
        yield call.address("output", number), prod(shape) * dtype.itemsize
    for array in call.weights:
        yield address(array), array.nbytes
    yield call.address("scratch", 0), binding.scratch


def _copied(place: int, spans: Sequence[tuple[int, int]], parameter: Parameter) -> np.ndarray:
    """What lies from an address to the end of its buffer; the first of several that begin or lie there is meant, beginning before within."""
    fitting = [start + size - place for start, size in spans if start <= place < start + size]
    exact = [size for start, size in spans if start == place]
    bytes = max(exact or fitting or [0])
    dtype = np.dtype(f"{parameter.kind}{parameter.bytes}" if parameter.kind in "fiu" else np.uint8)
    return np.frombuffer(ctypes.string_at(place, bytes // dtype.itemsize * dtype.itemsize), dtype).copy()
