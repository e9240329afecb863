"""Search for schedules that are faster than those of the rules on the machine at hand.

    found = mlc.tune("model.onnx", seconds=60)
    found.store.save("schedules.json")
    exe = mlc.compile("model.onnx", tune_store="schedules.json")

schedule_search.py says how it is searched, mlc/passes/kernel/rules/neighbours.py what is tried.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from xdsl.dialects.builtin import StringAttr

from mlc.compiler import Compilation
from mlc.errors import MlcError, TargetUnavailable
from mlc.insight.decisions import work_of
from mlc.insight.prediction import core_at_hand, predict
from mlc.ir.interpreter import bind
from mlc.ir.kernel.kernel import Kernel
from mlc.ir.kernel.schedule import Schedule
from mlc.ir.kernel.schedule_store import ScheduleStore, StoredSchedule, machine
from mlc.ir.processors import thread_count
from mlc.ir.samples import random_inputs
from mlc.ir.work import Part, watched
from mlc.numeric import compare_outputs
from mlc.options import CompileOptions
from mlc.passes.kernel.cost import cost_of
from mlc.passes.kernel.lowering import ChooseSchedules, LowerKernels, LowerNewKernels, kernels, lowered
from mlc.passes.kernel.rules.by_target import RULES, target_of
from mlc.passes.kernel.rules.neighbours import neighbours
from mlc.progress import Progress, stage
from mlc.schedule_search import Row, Search, Space, Times

if TYPE_CHECKING:
    from xdsl.dialects.func import FuncOp

    from mlc.compiler import Source
    from mlc.ir.kernel.stubs import KnownKernels
    from mlc.ir.kernel.target import Target
    from mlc.ir.module import Module
    from mlc.runtime.executable import Executable

HOPELESS = 1.5  # times the prediction of where a search stands, beyond which a schedule is not tried

_log = logging.getLogger("mlc.tune")


@dataclass
class Compiled:
    """A variant as machine code, on given inputs."""

    executable: Executable
    arrays: Sequence[np.ndarray]
    refused: frozenset[str]

    def _inputs(self) -> list[np.ndarray]:
        """Copies of those that a call writes its results into."""
        names = [spec.name for spec in self.executable.get_inputs()]
        given = self.executable.unshared(dict(zip(names, self.arrays, strict=True)))
        return [given[name] for name in names]

    def run(self) -> Sequence[np.ndarray]:
        found = self.executable(*self._inputs())
        return found if isinstance(found, tuple | list) else [found]

    def times(self) -> Times:
        found: dict[str, float] = {}
        for step in self.executable.profile(*self._inputs()):
            found[step.kernel] = found.get(step.kernel, 0.0) + step.nanoseconds
        return found


@dataclass(frozen=True)
class Tuned:
    """`store` has an entry for each of `rows`, on top of what there was. `tried` schedules were measured in `seconds`; `wrong` variants computed
    something else, which is a bug of mlc; `interrupted`: by Ctrl-C, and what was found until then is kept."""

    store: ScheduleStore
    rows: Sequence[Row]
    tried: int
    wrong: int
    seconds: float
    interrupted: bool

    @property
    def gain(self) -> float:
        """How many times as fast all kernels are together, as it follows from their shares."""
        return 1 / (1 - sum(row.share * (1 - 1 / row.gain) for row in self.rows))


def tune(
    source: Source,
    seconds: float = 60.0,
    inputs: Mapping[str, np.ndarray] | None = None,
    *,
    seed: int = 0,
    **options: Any,
) -> Tuned:
    """Search for `seconds` around the schedules that the rules choose for a model: a path, bytes, a ModelProto or a Module.

    `inputs` by name decide at which sizes kernels are timed; random ones without. The other keywords are the fields of mlc.CompileOptions; with a
    `tune_store` what is found goes on top of it. A CPU's threads are those that calls take. Raises MlcError for whatever mlc.compile raises it for,
    TargetUnavailable for targets other than the CPU at hand.
    """
    compilation = Compilation(CompileOptions.of(**options))
    module = compilation.load(source)
    if inputs is None:
        arrays = random_inputs(module, seed=seed)
    else:
        if missing := [name for name in module.input_names if name not in inputs]:
            raise MlcError(f"tune: there is no array for the input '{missing[0]}'", remedy="Give all inputs, or none.")
        arrays = [np.asarray(inputs[name]) for name in module.input_names]
    bind(module, arrays)
    return tune_module(compilation, module, arrays, seconds)


def tune_module(
    compilation: Compilation,
    module: Module,
    arrays: Sequence[np.ndarray],
    seconds: float,
    progress: Progress | None = None,
) -> Tuned:
    """As `tune`, for a loaded module, on these inputs."""
    target, options = compilation.target, compilation.options
    if target.kind != "cpu" or (missing := target.missing()):
        why = f"code for {target.kind}" if target.kind != "cpu" else f"a machine with {', '.join(missing)}"
        raise TargetUnavailable(
            f"tune: schedules are measured on the CPU at hand, not {why}", remedy="Leave out --target and --arch."
        )
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        raise MlcError(f"tune: seconds is {seconds!r}, which is no time to measure in", remedy="Give seconds, as 60.")
    start = time.perf_counter()
    with stage("tune", progress) as step, watched(None, Part()):  # what compiles variants is not what the stage is at
        model = _Model(Compilation(replace(options, tune_store=None)), module, arrays)
        agree = lambda got, want: all(d.agrees for d in compare_outputs(module.output_names, got, want))
        before = options.tune_store or ScheduleStore()
        search = Search(model.spaces(before), model.variant, agree, seconds)
        search.told = lambda text, tried: step.at(
            text, min(int(time.perf_counter() - start), int(seconds)), int(seconds)
        )
        rows = search.run()
        threads = thread_count(options.threads)
        found = [model.entry(row, threads) for row in rows]
        store = before.merged(ScheduleStore.of(found))
        took = time.perf_counter() - start
        tuned = Tuned(store, rows, search.tried, search.wrong, took, search.interrupted)
        step.text = f"{search.tried} schedules tried, {len(rows)} kernel{'s' * (len(rows) != 1)} faster, together {tuned.gain:.2f}x"
        step.text += "; interrupted" if search.interrupted else ""
    if search.wrong:
        _log.warning("%d variants computed something else and were left: this is a bug of mlc", search.wrong)
    return tuned


def _scheduled() -> MlcError:
    return MlcError("tune: the kernels of this module have schedules already", remedy="Give the model itself.")


class _Model:
    """A model up to its kernels, before they have schedules; `compilation` has no store."""

    def __init__(self, compilation: Compilation, module: Module, arrays: Sequence[np.ndarray]):
        steps = compilation.passes(module)
        place = next((n for n, step in enumerate(steps) if isinstance(step, ChooseSchedules)), None)
        if place is None:
            raise _scheduled()
        self.options, self.target, self.arrays = compilation.options, compilation.target, arrays
        self.symbols, self.resident = bind(module, list(arrays)), 0
        self.module, self.steps = compilation.lower(module, steps[:place]), steps[place:]
        self.keys: dict[str, str] = {}
        self.rules: dict[str, str] = {}
        self.described: dict[
            str, Mapping[str, Any]
        ] = {}  # kernels as reports have them, once there is a variant of the rules

    def spaces(self, store: ScheduleStore) -> dict[str, Space]:
        """What is in a store already is tried first."""
        found = {}
        every = [Kernel.from_func(function) for function in kernels(self.module)]
        if every and all(kernel.schedule for kernel in every):
            raise _scheduled()
        for kernel in (kernel for kernel in every if not kernel.schedule):  # else somebody wrote it
            self.keys[kernel.name] = kernel.key()
            rule = RULES[self.target.kind].choose(kernel, self.target)
            self.rules[kernel.name] = str(rule)
            around = partial(self.around, kernel)
            entry = store.find(self.target, self.keys[kernel.name])
            first = [Schedule.parse(entry.schedule)] if entry is not None and entry.rule == str(rule) else []
            found[kernel.name] = Space(kernel.name, rule, around, first)
        return found

    def around(self, kernel: Kernel, schedule: Schedule) -> list[Schedule]:
        """Schedules around one, those first that are predicted to be fastest; without those that are predicted to be far slower."""
        core, facts = core_at_hand(self.target), self.described[kernel.name]
        found = neighbours(kernel, schedule, self.target)
        if core is None:
            return found
        extents, resident = work_of(facts, facts["calls"][0], self.symbols).extents, self.resident

        def predicted(other: Schedule) -> float:
            copy = kernel.clone()
            copy.schedule = str(other)
            copy.finish()
            cost = cost_of(copy.op, self.target)
            return 0.0 if cost is None else predict(cost.facts(), core, extents, resident).nanoseconds

        times = {str(other): predicted(other) for other in (schedule, *found)}
        likely = [other for other in found if times[str(other)] <= HOPELESS * times[str(schedule)]]
        return sorted(likely, key=lambda other: times[str(other)])

    def variant(self, schedules: Mapping[str, Schedule]) -> Compiled:
        compilation = Compilation(self.options)
        known, refused = compilation.known(), set[str]()
        steps = [
            _ChooseCandidates(step.target, schedules)
            if isinstance(step, ChooseSchedules)
            else _LowerCandidates(step.target, known, self.rules, refused)
            if isinstance(step, LowerKernels)
            else step
            for step in self.steps
        ]
        lowered = compilation.lower(self.module, steps, known=known)
        made = compilation.link(self.module, lowered, compilation.generate(lowered, known))
        if not self.described:
            self.described = {kernel["name"]: kernel for kernel in made.report["kernels"]}
            self.resident = made.report["weight_bytes"]
        return Compiled(made, self.arrays, frozenset(refused))

    def entry(self, row: Row, threads: int) -> StoredSchedule:
        facts = self.described[row.kernel]
        return StoredSchedule(
            machine(self.target),
            self.keys[row.kernel],
            row.schedule,
            row.rule,
            round(row.gain, 3),
            threads,
            tuple(facts["ops"]),
            tuple(dict.fromkeys(node for call in facts["calls"] for node in call["source"])),
        )


class _ChooseCandidates(ChooseSchedules):
    """The schedules to be tried, by kernel; else those of the rules."""

    def __init__(self, target: str, schedules: Mapping[str, Schedule]):
        super().__init__(target)
        object.__setattr__(self, "schedules", schedules)

    schedules: Mapping[str, Schedule]

    def schedule(self, kernel: Kernel, target: Target) -> str:
        given = self.schedules.get(kernel.name)
        return super().schedule(kernel, target) if given is None else str(given)


class _LowerCandidates(LowerKernels):
    """Kernels that refuse what is tried get the rules' schedule, and their names are noted."""

    known: KnownKernels | None
    rules: Mapping[str, str]
    refused: set[str]

    def __init__(self, target: str, known: KnownKernels | None, rules: Mapping[str, str], refused: set[str]):
        super().__init__(target)
        for name, value in (("known", known), ("rules", rules), ("refused", refused)):
            object.__setattr__(self, name, value)

    def run(self, module: Module) -> None:
        for function in kernels(module):
            name = function.sym_name.data
            if name in self.rules and not self._goes(function, self.rules[name]):
                self.refused.add(name)
                function.attributes["kernel.schedule"] = StringAttr(self.rules[name])
        lower = LowerKernels(self.target) if self.known is None else LowerNewKernels(self.target, self.known)
        lower.run(module)

    def _goes(self, function: FuncOp, rule: str) -> bool:
        """Whether the kernel can be lowered as its schedule says; it can where its code is known."""
        kernel = Kernel.from_func(function)
        if kernel.schedule == rule or (self.known and self.known.find(self.known.key(kernel.key())) is not None):
            return True
        try:
            lowered(function, target_of(self.target))
        except MlcError:
            return False
        return True
