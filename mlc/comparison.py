"""Run a model after every stage of its compilation on the same inputs, and find the first stage whose numbers differ.

    import, then each graph pass     the interpreter of the graph dialect
    outline ... lower                the interpreter of kernels and loops
    native                           the compiled code, each buffer in memory of its own
    plan-arena                       the compiled code as users run it

Where kernels are involved the contents of every buffer are compared, so that the first wrong kernel is named, not the last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import TYPE_CHECKING, NoReturn

import numpy as np
from xdsl.dialects.builtin import ArrayAttr, DictionaryAttr, StringAttr, TensorType
from xdsl.dialects.func import FuncOp
from xdsl.ir import Operation, SSAValue

from mlc import references
from mlc.compiler import Compilation, Inspection, load
from mlc.errors import InternalError, MlcError, NumericMismatch
from mlc.insight.summary import flops
from mlc.ir import dims
from mlc.ir.graph.control import GroupOp
from mlc.ir.interpreter import bind, unshared
from mlc.ir.kernel import program
from mlc.ir.module import Module
from mlc.ir.sample_sizes import sample_binding
from mlc.ir.samples import random_inputs
from mlc.ir.types import DimsAttr, dtype_of_type
from mlc.numeric import Difference, compare_arrays, compare_outputs, largest
from mlc.options import CompileOptions, is_whole
from mlc.passes.check import first_difference
from mlc.progress import Progress, stage

if TYPE_CHECKING:
    from mlc.compiler import Source
    from mlc.insight.view.recorder import Recorder
    from mlc.passes.base import Pass

# The interpreter of loops runs about a million operations per second: above this, stages of loops are left out.
LOOP_LIMIT = 20_000_000
INTERPRETED = (
    "outline",
    "specialise",
    "merge-loops",
    "schedule",
    "lower",
)  # modules of kernels that the interpreter runs
ARENA = "plan-arena"


@dataclass(frozen=True)
class StageResult:
    """One stage: the largest error over its outputs (and over buffers, for stages of kernels); why it was left out, where it was."""

    name: str
    error: float = 0.0
    agrees: bool = True
    skipped: str = ""


@dataclass(frozen=True)
class Divergence:
    """The first stage that differs, and what in it: the op (or kernel) with the nodes of the user's model, and the numbers."""

    stage: str
    error: float
    tolerance: float
    op: str
    text: str


@dataclass
class Comparison:
    reference: str
    sizes: dict[str, int]
    stages: list[StageResult] = field(default_factory=list)
    first_divergence: Divergence | None = None
    errors: dict[str, float] = field(default_factory=dict)  # of the native code, by node, where a report was asked for

    def raise_if_different(self) -> None:
        """Raises NumericMismatch about the first divergence."""
        found = self.first_divergence
        if found is not None:
            raise NumericMismatch(
                f"{found.stage} differs from {self.reference}: max rel err {found.error:.2g} (tolerance {found.tolerance:g})",
                node=found.op or None,
                shapes=[("first difference", "", found.text)],
            )


def compare(
    source: Source,
    inputs: Mapping[str, np.ndarray] | None = None,
    *,
    against: str = "interpreter",
    options: CompileOptions | None = None,
    sizes: Mapping[str, int] | None = None,
    seed: int = 0,
    rtol: float | None = None,
    atol: float | None = None,
    everything: bool = False,
    progress: Progress | None = None,
    report: Recorder | None = None,
) -> Comparison:
    """Compare all stages on `inputs` (random ones without it; `sizes` of symbols). Goes on after the first difference only to the end of
    its stage.

    against     "interpreter", or "onnxruntime", which also checks the import
    everything  run the interpreter of loops however long it takes
    report      writes a page about the passes; the result then has the error of each node
    """
    options = options or CompileOptions()
    run = _Run(source, options, inputs, dict(sizes or {}), seed, rtol, atol, everything, progress, report)
    return run.all(against)


def compare_results(
    comparison: Comparison,
    name: str,
    outputs: Sequence[str],
    got: Sequence[np.ndarray],
    want: Sequence[np.ndarray],
    rtol: float | None = None,
    atol: float | None = None,
) -> None:
    """Enter a stage by its outputs; one that differs becomes the first divergence."""
    differences = compare_outputs(outputs, got, want, rtol, atol)
    wrong = [d for d in differences if not d.agrees]
    comparison.stages.append(StageResult(name, largest(differences), not wrong))
    if wrong:
        worst = max(wrong, key=lambda d: d.error)
        comparison.first_divergence = Divergence(
            name, worst.error, worst.tolerance, "", f"output '{worst.name}' {worst.text}"
        )


class _Differs(Exception):
    """Unwinds the pass manager at the first stage that differs."""


class _Run:
    def __init__(
        self,
        source: Source,
        options: CompileOptions,
        inputs: Mapping[str, np.ndarray] | None,
        sizes: dict[str, int],
        seed: int,
        rtol: float | None,
        atol: float | None,
        everything: bool,
        progress: Progress | None,
        report: Recorder | None,
    ):
        if not isinstance(options, CompileOptions):
            raise MlcError(f"options are {options!r}", remedy="Give mlc.CompileOptions(...).")
        if inputs is not None and not isinstance(inputs, Mapping):
            raise MlcError("inputs go by name", remedy='Give {"x": array, ...}.')
        if not is_whole(seed) or seed < 0:
            raise MlcError(f"seed is {seed!r}", remedy="A seed is a whole number of at least 0.")
        self.source, self.rtol, self.atol, self.progress = source, rtol, atol, progress
        self.until, self.known = options.until, options.known
        self.compilation = Compilation(options, inspection=Inspection(report=report))
        self.module = load(source, options.shapes, options.dims, options.known, options.until)
        for tolerance, value in (("rtol", rtol), ("atol", atol)):
            if value is not None and not (isinstance(value, Real) and value >= 0):
                raise MlcError(f"{tolerance} is {value!r}", remedy="A tolerance is a number of at least 0, as 1e-4.")
        names = self.module.input_names
        if inputs is None:
            binding = sample_binding(self.module, sizes)
            inputs = dict(zip(names, random_inputs(self.module, binding, seed), strict=True))
        if missing := [name for name in names if name not in inputs]:
            raise MlcError(f"input '{missing[0]}' is missing", remedy=f"Inputs: {', '.join(names)}.")
        self.feeds = {name: np.asarray(inputs[name]) for name in names}
        binding = bind(self.module, list(self.feeds.values()))
        self.result = Comparison("the interpreter on the imported module", binding)
        self.work = dims.evaluate(flops(self.module), binding)
        self.loops = everything or self.work <= LOOP_LIMIT
        self.before = self.module
        self.arena = ARENA  # the name of its stage
        self.buffers: list[np.ndarray] | None = None  # of the outlined program: the reference for later stages

    def all(self, against: str) -> Comparison:
        if against not in ("interpreter", "onnxruntime"):
            raise MlcError(f"there is no reference '{against}'", remedy="Choices: interpreter, onnxruntime.")
        with stage("reference", self.progress) as step:
            self.want = references.interpreter(self.module)(self.feeds)
            step.text = self.result.reference
            if against == "onnxruntime":
                if isinstance(self.source, Module):
                    raise MlcError("onnxruntime runs ONNX models, not IR")
                imported, self.want = (
                    self.want,
                    references.onnxruntime(self.source, until=self.until)({**self.feeds, **self.known}),
                )
                self.result.reference = step.text = "onnxruntime"
        try:
            if against == "onnxruntime":
                self._note("import", self._outputs(imported))
            lowered = self.compilation.lower(self.module, watch=self._after)
            self._native(lowered)
        except _Differs:
            pass
        return self.result

    # Stages ----------------------------------------------------------------------------------------------------------
    def _after(self, number: int, step: Pass, module: Module) -> None:
        name = f"{number:02} {step.name}"
        if step.name in INTERPRETED:
            self._program(name, module)
        elif step.name == ARENA:
            self.arena = name
        else:
            self._note(name, self._outputs(references.interpreter(module)(self.feeds)), module)
            self.before = module.clone()

    def _program(self, name: str, module: Module) -> None:
        """A module of kernels, through the interpreter."""
        if not self.loops:
            self.result.stages.append(
                StageResult(name, skipped=f"{self.work / 1e6:,.0f} million operations are too many to interpret")
            )
            return
        from mlc.ir.kernel.interpreter.main_function import run_program

        exposed = expose(module, self.result.sizes)
        try:
            found = run_program(exposed.module, unshared(exposed.module, list(self.feeds.values())))
        except InternalError as error:
            self._fail(name, error)
        differences = self._outputs(found[: len(self.want)])
        if self.buffers is None:
            self._note(name, differences, module)
            self.buffers = found
            return
        self._note(name, differences, module, self._kernel(exposed, found))

    def _native(self, lowered: Module) -> None:
        exposed = expose(lowered, self.result.sizes)
        with stage("native", self.progress) as step:
            found = self._run_native(exposed.module)
            step.text = f"{len(found) - len(self.want)} buffers looked at"
        if self.compilation.inspection.report is not None:
            self.result.errors = self._errors(exposed, found)
        self._note("native", self._outputs(found[: len(self.want)]), None, self._kernel(exposed, found))
        self._note(self.arena, self._outputs(self._run_native(lowered)))

    def _run_native(self, lowered: Module) -> list[np.ndarray]:
        code = self.compilation.generate(lowered)
        feeds = dict(zip(self.feeds, unshared(lowered, list(self.feeds.values())), strict=True))
        return self.compilation.link(lowered, lowered, code).run(None, feeds)

    # Verdicts --------------------------------------------------------------------------------------------------------
    def _outputs(self, found: Sequence[np.ndarray]) -> list[Difference]:
        return compare_outputs(self.module.output_names, found, self.want, self.rtol, self.atol)

    def _note(
        self,
        name: str,
        differences: list[Difference],
        module: Module | None = None,
        kernel: tuple[str, Difference] | None = None,
    ) -> None:
        """Enter a stage; at the first that differs, say what does and stop."""
        wrong = [d for d in differences if not d.agrees]
        self.result.stages.append(StageResult(name, largest(differences), not wrong))
        if not wrong:
            return
        worst = max(wrong, key=lambda d: d.error)
        op, text = "", f"output '{worst.name}' {worst.text}"
        if kernel is not None:
            op, text = kernel[0], f"its result {kernel[1].text}"
        elif module is not None and not any(isinstance(o, program.CallOp) for o in module.main.walk()):
            tolerance = worst.tolerance or 1e-6
            op = first_difference(self.before, module, list(self.feeds.values()), tolerance) or ""
        self.result.first_divergence = Divergence(name, worst.error, worst.tolerance, op, text)
        raise _Differs

    def _fail(self, name: str, error: InternalError) -> NoReturn:
        """A stage that the interpreter stops in: a kernel reaches outside of its memory, or reads what nothing wrote."""
        self.result.stages.append(StageResult(name, float("inf"), agrees=False))
        self.result.first_divergence = Divergence(name, float("inf"), 0.0, "", error.message)
        raise _Differs from error

    def _kernel(self, exposed: Exposed, found: Sequence[np.ndarray]) -> tuple[str, Difference] | None:
        """The first call, in program order, whose result is not what the outlined program had, or the group it was made of."""
        groups = self._groups() if self.buffers is None and not self.before.is_program else {}
        for place, (kernel, source) in exposed.writers.items():
            wanted = groups.get(source, []) if self.buffers is None else [self.buffers[place]]
            differences = [
                compare_arrays(kernel, found[place].reshape(want.shape), want, self.rtol, self.atol)
                for want in wanted
                if want.size == found[place].size and want.dtype == found[place].dtype
            ]
            if differences and not any(d.agrees for d in differences):
                nodes = ", ".join(source)
                return (f"{nodes} (kernel {kernel})" if nodes else f"kernel {kernel}"), differences[0]
        return None

    def _errors(self, exposed: Exposed, found: Sequence[np.ndarray]) -> dict[str, float]:
        """By node the largest error of what its kernels write."""
        groups = self._groups() if not self.before.is_program else {}
        errors: dict[str, float] = {}
        for place, (kernel, source) in exposed.writers.items():
            results = groups.get(source, []) if self.buffers is None else [self.buffers[place]]
            same = [want for want in results if want.size == found[place].size and want.dtype == found[place].dtype]
            values = [compare_arrays(kernel, found[place].reshape(want.shape), want).error for want in same]
            for node in source if values else ():
                errors[node] = max(errors.get(node, 0.0), min(values))
        return errors

    def _groups(self) -> dict[tuple[str, ...], list[np.ndarray]]:
        """What each group of the fused module gives, by the nodes it computes."""
        from mlc.ir.interpreter import run

        results: dict[tuple[str, ...], list[np.ndarray]] = {}

        def observe(op: Operation, arrays: tuple[np.ndarray, ...]) -> None:
            if isinstance(op, GroupOp):
                results.setdefault(op.sources, []).extend(arrays)

        run(self.before, unshared(self.before, list(self.feeds.values())), observe)
        return results


@dataclass(frozen=True)
class Exposed:
    """A program whose buffers are outputs too, behind its own. `writers`: output number -> kernel and source of the call that fills it."""

    module: Module
    writers: dict[int, tuple[str, tuple[str, ...]]]


def expose(module: Module, sizes: Mapping[str, int]) -> Exposed:
    """Every buffer of the arena becomes an argument of @main, so that its contents can be seen after a run with these sizes."""
    copy = module.clone()
    main = copy.main
    attrs = list(main.arg_attrs.data) if main.arg_attrs else []
    outputs = [arg for arg, row in zip(main.args, attrs, strict=True) if _text(row, "kernel.role") == "output"]
    places: dict[SSAValue, int] = {arg: number for number, arg in enumerate(outputs)}
    for op in [op for op in main.walk() if isinstance(op, program.BufferOp)]:
        dtype = dtype_of_type(TensorType(program.memref_of(op.result).element_type, []))
        argument = main.body.block.insert_arg(op.result.type, len(main.args))
        texts = {"kernel.name": f"buffer {op.number.data}", "kernel.role": "output", "kernel.dtype": dtype}
        attrs.append(
            DictionaryAttr(
                {**{k: StringAttr(v) for k, v in texts.items()}, "kernel.dims": DimsAttr.of(op.dims.extents())}
            )
        )
        places[argument] = len(places)
        op.result.replace_all_uses_with(argument)
        op.detach()
        op.erase()
    main.properties["arg_attrs"] = ArrayAttr(attrs)
    main.update_function_type()
    if "kernel.arena" in main.attributes:
        main.attributes["kernel.arena"] = ArrayAttr([])
    writers: dict[int, tuple[str, tuple[str, ...]]] = {}
    kernels = {op.sym_name.data: op for op in copy.op.ops if isinstance(op, FuncOp)}
    for call in (op for op in main.walk() if isinstance(op, program.CallOp)):
        if call.kernel not in kernels:
            raise InternalError(f"@main calls kernel '{call.kernel}', which is not in the module")
        if any(sizes.get(name) != size for name, size in program.sizes_asked(call).items()):
            continue  # not taken; of those that would be, the first is
        for value in call.arguments:
            base = value
            while isinstance(base.owner, program.ViewOp | program.RowOp | program.PartOp):
                base = base.owner.operands[0]
            if base in places:
                writers.setdefault(places[base], (call.kernel, tuple(name.data for name in call.source.data)))
    return Exposed(copy, writers)


def _text(row: DictionaryAttr, key: str) -> str:
    found = row.data.get(key)
    return found.data if isinstance(found, StringAttr) else ""
