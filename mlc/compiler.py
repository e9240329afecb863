"""Joins the stages: the only file that knows them all.

load      ONNX file, IR text         ->  Module of the graph dialect
lower     Module, CompileOptions     ->  Module whose kernels are loops and whose @main is planned
compile   any of these               ->  Executable
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from mlc import compilation_cache
from mlc.backends import backend
from mlc.errors import InternalError, InvalidModel, MlcError, TargetUnavailable
from mlc.ir import safetensors
from mlc.ir.byte_counts import bytes_text
from mlc.ir.collection import without_collections
from mlc.ir.dims import Extent
from mlc.ir.files import require_path
from mlc.ir.module import Module
from mlc.ir.variants import Variant, require_possible, variant_text
from mlc.ir.weights import WeightStore
from mlc.options import CompileOptions, DimRange
from mlc.passes import dump
from mlc.progress import Progress, stage
from mlc.provenance import source_digest, versions
from mlc.runtime import portable
from mlc.runtime.portable import weights_of
from mlc.sources import is_ir_text, require_source

if TYPE_CHECKING:
    from onnx import ModelProto

    from mlc.cases import Specialising
    from mlc.codegen.code import Code
    from mlc.grouped import Grouped
    from mlc.insight.footprint import CallMemory
    from mlc.insight.view.recorder import Recorder
    from mlc.ir.kernel.stubs import KnownKernels
    from mlc.ir.kernel.target import Target
    from mlc.passes.base import Pass
    from mlc.passes.manager import PassManager, Selection
    from mlc.runtime.compilation_record import CompilationRecord
    from mlc.runtime.executable import Executable
    from mlc.runtime.package import Package
    from mlc.sequences import Structured

    Watch = Callable[[int, Pass, Module], None]
    Source = str | os.PathLike[str] | bytes | ModelProto | Module

_log = logging.getLogger("mlc.compile")


def load(
    source: Source,
    shapes: Mapping[str, Sequence[int | str]] | None = None,
    dims: Mapping[str, int | tuple[int, int | None] | DimRange] | None = None,
    known: Mapping[str, np.ndarray] | None = None,
    until: str | None = None,
    answers: Mapping[Extent, bool] | None = None,
    trainable: bool = False,
) -> Module:
    """The module of a model: an ONNX file (binary or text syntax), its bytes or ModelProto, or a file of IR text (.mlir).

    shapes  extents of inputs in place of the declared ones: numbers, names, expressions
    dims    a size that fixes a symbol, or its bounds (low, high)
    known   values of inputs that decide shapes: constants of the module, which no longer has these inputs
    until   a node at which an ONNX model ends, by its name, or one value: its outputs become the model's, and what they do not need is
            not imported
    trainable  initializers of several floats are weights, however small: else up to 16 elements are constants in the text

    The weights of IR text m.mlir are read from m.safetensors or weights.safetensors in its folder. Raises InvalidModel, ShapeError,
    UnsupportedOp.
    """
    require_source(source)
    given = CompileOptions.of(shapes=shapes, dims=dims, known=known)
    shapes, dims, known = given.shapes, given.dims, given.known
    if isinstance(source, Module):
        _as_it_is("a module", shapes, dims, known, until)
        return source
    if isinstance(source, bytes | bytearray | memoryview) and is_ir_text(source := bytes(source)):
        _as_it_is("IR text", shapes, dims, known, until)
        return parse_text(source, "<text>")
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if path.suffix == ".mlir":
            _as_it_is("IR text", shapes, dims, known, until)
            return _parse(path)
        if path.suffix == ".mlc":
            raise MlcError(f"{path} is a compiled package", remedy="mlc.load_executable loads it.")
    from mlc.frontends import onnx

    bounds = {name: _bounds(value) for name, value in dims.items()}
    return onnx.load(source, shapes, bounds, known, until, answers, trainable)


def _is_text(source: object) -> bool:
    if isinstance(source, bytes | bytearray | memoryview):
        return is_ir_text(bytes(source))
    return isinstance(source, str | os.PathLike) and Path(source).suffix == ".mlir"


def _as_it_is(what: str, shapes: object, dims: object, known: object, until: str | None) -> None:
    if shapes or dims or known:
        raise MlcError(f"{what} has its sizes already", remedy="Give shapes and dims where the ONNX model is loaded.")
    if until is not None:
        raise MlcError(f"{what} cannot be cut at '{until}'", remedy="Cut the ONNX model that it was made from.")


def _bounds(value: DimRange) -> int | tuple[int, int | None]:
    return value.low if value.low == value.high else (value.low, value.high)


def parse_text(content: bytes, file: str, weights: WeightStore | None = None) -> Module:
    """The module in a file of IR text. Raises InvalidModel."""
    try:
        return Module.parse(content.decode(), weights, file)
    except UnicodeDecodeError as error:
        raise InvalidModel(f"{file} is not text in UTF-8: {error}") from error


def _parse(path: Path) -> Module:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidModel(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    weights = WeightStore()
    for beside in weights_beside(path):
        safetensors.add_file(weights, beside)
    module = parse_text(content, str(path), weights)
    module.source = str(path)
    return module


def weights_beside(path: Path) -> list[Path]:
    """The file that the weights of IR text lie in: of its name, else the one of its folder; none where neither is there."""
    candidates = (path.with_suffix(".safetensors"), path.parent / dump.WEIGHTS)
    return [beside for beside in candidates if beside.exists()][:1]


def done_before(module: Module) -> frozenset[str]:
    """Names of the passes that a module shows to have run: IR text may come from any stage."""
    from mlc.passes.pipelines import BUILT_IN, LOWERING
    from mlc.passes.stages import STAGES, stage_of

    stage = stage_of(module)
    if stage == "graph":
        return frozenset()
    ahead = STAGES[STAGES.index(stage) :]
    return BUILT_IN - {kind.name for kind in LOWERING if not set(ahead).isdisjoint(kind.takes)}


@dataclass(frozen=True)
class Inspection:
    """What a caller wants to see of the IR on its way; the fields are those of PassManager, and `trace` of whoever wants all stages to be gone
    through, and `report` of a page that shows them."""

    print_before: Selection = ()
    print_after: Selection = ()
    print_on_change: bool = False
    dump: Path | None = None
    stop_after: str | None = None
    time: bool = False
    stream: TextIO | None = None
    trace: bool = False
    report: Recorder | None = None  # of a page, which shows each pass


@dataclass
class Compilation:
    """One model on its way to native code. Each stage is a method, so that commands can stop and look after any of them."""

    options: CompileOptions = field(default_factory=CompileOptions)
    progress: Progress | None = None
    inspection: Inspection = field(default_factory=Inspection)
    seconds: dict[str, float] = field(default_factory=dict)  # of each stage
    report: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        from mlc.passes.kernel.rules.by_target import with_precision

        _check_available(self.options)
        self.backend = backend(self.options.target)
        self.target = with_precision(self.backend.rules.target(self.options.arch), self.options.precision)
        _require_threads(self.options.threads, self.target)
        self.portable: Module | None = None  # the last module before the target has a say
        self._digest: Callable[[], str | None] = lambda: None
        self._request: tuple[compilation_cache.Request, CompileOptions] | None = None  # of a file, with these options
        self._loaded: Module | None = None
        self._given: Module | None = None  # where it is the caller's own, who may replace its weights
        self._written = False  # whether what was loaded is IR text of a later stage than the graph

    def load(
        self,
        source: Source,
        known: Mapping[str, np.ndarray] | None = None,
        answers: Mapping[Extent, bool] | None = None,
    ) -> Module:
        """The module of a model, with the shapes and bounds of the options. `answers` are those to questions about sizes, where they can be asked."""
        from mlc.insight.summary import headline

        if self._request is None:
            self._digest = source_digest(source)
        self._given = source if isinstance(source, Module) else None
        with stage("import", self.progress, self.seconds) as step:
            given = {**self.options.known, **(known or {})}
            module = load(source, self.options.shapes, self.options.dims, given, self.options.until, answers)
            require_possible(self.options.specialise, module.symbols)
            step.text = headline(module)
        self._loaded, self._written = module, _is_text(source) and bool(done_before(module))
        return module

    @property
    def uses_cache(self) -> bool:
        """Not where the cache is off, nor where someone looks at the IR on its way."""
        return self.options.cache and not self.options.verify_each and self.inspection == Inspection()

    def known(self) -> KnownKernels | None:
        """The kernels of earlier compilations, where the cache is used."""
        return self.backend.generator.known(self.target) if self.uses_cache else None

    def find(self, source: Source) -> Executable | Grouped | None:
        """What an earlier compilation made of the same file or bytes, with the same options. None where nothing is there; what is compiled then
        will be."""
        from mlc.grouped import Grouped
        from mlc.ir.module import OutputForm

        asked = compilation_cache.request(self.options, source) if self.uses_cache else None
        if asked is None:
            return None
        self.keep_as(asked)
        if (found := compilation_cache.find(asked)) is None:
            return None
        made = self._of_record(found.record, found.record.weights)
        if not found.confirm():
            self.report, self.seconds = {}, {}
            return None
        forms = found.record.forms
        return made if forms is None else Grouped(made, [OutputForm(*form) for form in forms])

    def passes(self, module: Module) -> list[Pass]:
        """Those of the options that a module has not been through. Raises MlcError where it comes too late for one that was asked for."""
        from mlc.passes.graph.buckets import has_sums_over_ranks
        from mlc.passes.graph.fewer_products import Winograd
        from mlc.passes.graph.rematerialise import Rematerialise
        from mlc.passes.kernel.rules.by_target import option_of
        from mlc.passes.kernel.specialise import Specialise
        from mlc.passes.pipelines import pipeline

        options = self.options
        sizes = ";".join(map(variant_text, options.specialise))
        target = option_of(self.backend.name, options.arch, options.precision)
        winograd = options.setting("winograd")
        left_out = (*options.disable_passes, *([Winograd.name] if winograd == "off" else []))
        tile = int(winograd) if winograd.isdigit() else 0
        every = pipeline(
            options.opt_level,
            target,
            left_out,
            options.passes,
            sizes,
            options.memory_budget,
            tile,
            has_sums_over_ranks(module),
        )
        done = done_before(module)
        if options.memory_budget is not None and Rematerialise.name in done:
            raise MlcError("a module that is fused already gets no memory budget", remedy="Give the model itself.")
        if sizes and Specialise.name in done:
            raise MlcError(f"a module of loops cannot be specialised for {sizes}", remedy="Give the model itself.")
        return [step for step in every if step.name not in done]

    def lower(
        self,
        module: Module,
        passes: Sequence[Pass] | None = None,
        watch: Watch | None = None,
        known: KnownKernels | None = None,
        code: bool = True,
    ) -> Module:
        """The module after the pipeline of the options (or after `passes`); the one given stays as it is. `watch` sees it after each pass.
        Kernels that are `known` become stubs, which only `generate` with the same cache can use; the others too, once their `code` is made."""
        from mlc.insight.decisions import buffer_users, composites, describe, weight_bytes
        from mlc.insight.footprint import memory_lines
        from mlc.insight.fusion import boundaries
        from mlc.insight.pages import write_index
        from mlc.ir.kernel.planner import functions_of
        from mlc.passes.graph.rematerialise import Rematerialise, memory_record
        from mlc.passes.kernel.lowering import ChooseSchedules, ChooseStoredSchedules, LowerKernels, LowerNewKernels

        if passes is None:
            passes = self.passes(module)
            if self.options.specialise:
                self.report["specialise"] = list(self.options.specialise)
        module = self._with_indices(module)
        if known is not None:
            new = partial(LowerNewKernels, known=known, wanted=code)
            passes = [new(step.target) if type(step) is LowerKernels else step for step in passes]
        if (store := self.options.tune_store) is not None:
            passes = [ChooseStoredSchedules(s.target, store) if type(s) is ChooseSchedules else s for s in passes]
        self.portable = None
        with stage("optimise", self.progress, self.seconds) as step, without_collections(), self._of_text():
            manager = self._manager(passes)
            named = weights_of(module)
            fusion: dict[tuple[str, ...], list[str]] = {}
            whole = composites(module)

            def after(number: int, done: Pass, changed: Module) -> None:
                if self.inspection.dump:
                    named.update(weights_of(changed))
                if done.gives == "groups":
                    fusion.update(boundaries(changed))
                    self.portable = copy(changed)  # outline makes a new one and leaves this as it is
                if done.name == Rematerialise.name:
                    self.report["memory"] = memory_record(changed)
                if done.gives == "schedules":
                    self.report["kernels"] = describe(changed, self.target, fusion, whole)
                    self.report["weight_bytes"] = weight_bytes(changed)
                    self.report["buffers"] = buffer_users(changed.main, functions_of(changed))
                if recorder is not None:
                    recorder.after(done, manager.records[-1], changed)
                if watch is not None:
                    watch(number, done, changed)

            recorder = self.inspection.report
            if recorder is not None:
                manager.started = partial(recorder.begin, target=str(self.target))
            manager.callback = after
            self.report["pipeline"] = [str(step) for step in manager.sequence]
            result = manager.run(module)
            self.report["passes"] = [
                {"name": r.name, "seconds": r.seconds, "ops": r.ops_after} for r in manager.records
            ]
            for chooser in (s for s in manager.sequence if isinstance(s, ChooseStoredSchedules)):
                self.report["stored_schedules"] = chooser.facts(self.target)
            about = [*memory_lines(self.report.get("memory")), *stored_lines(self.report.get("stored_schedules"))]
            step.text = "; ".join([_summary(manager, self.report.get("kernels", [])), *about])
        if recorder is not None:
            recorder.kernels(result, self.report.get("kernels", []))
        if self.inspection.dump:
            safetensors.write(result.weights, self.inspection.dump / dump.WEIGHTS, named)
            write_index(self.inspection.dump, manager.records)
        return result

    def _with_indices(self, module: Module) -> Module:
        """The module with what a call tests of positions in its inputs. Later stages bring it along; without the option it is dropped."""
        from mlc.ir.graph.indexed import index_ranges

        changed = copy(module)
        if not self.options.check_indices:
            changed.indices = ()
        elif not (module.indices or module.is_program):
            changed.indices = index_ranges(module)
        return changed

    def generate(self, lowered: Module, known: KnownKernels | None = None) -> Code:
        """Code of a lowered module, from the cache where it is known."""
        with stage("codegen", self.progress, self.seconds) as step, self._of_text():
            options = self.options
            code = self.backend.generator.compile(
                lowered, self.target, known=known, cache=options.cache, denormals=options.denormals
            )
            self.report["objects"] = {"compiled": code.compiled, "cached": code.cached}
            if code.compiler:
                self.report["compiler"] = code.compiler
            for kernel in self.report.get("kernels", ()):
                if facts := code.facts.get(kernel["name"]):
                    kernel["code"] = list(facts)
            scalar = len(code.optimised)
            step.text = f"{len(code.texts) - 1} kernels" + (f", {scalar} of them scalar" if scalar else "")
            step.text += f"; {code.compiled} objects compiled, {code.cached} from the cache"
            step.text += f", by {code.compiler}" if code.compiler else ""
        if self.inspection.report is not None:
            self.inspection.report.code(lowered, code, self.target)
        return code

    @contextmanager
    def _of_text(self) -> Iterator[None]:
        """Where the source is IR text of a later stage, anyone may have written it, and a rule of that stage that is broken is broken by the text."""
        try:
            yield
        except InternalError as error:
            if not self._written:
                raise
            raise InvalidModel(
                f"the IR text breaks a rule of its stage: {error.message}",
                remedy="Where it is as mlc wrote it, this is a bug of mlc: report it with the text.",
            ) from error

    def memory(self, module: Module, sizes: Mapping[str, int]) -> CallMemory:
        """What a call of the module's code takes at these sizes. All is planned, and no machine code is made."""
        from mlc.insight.footprint import call_memory
        from mlc.ir.kernel.planner import plan_of

        lowered = self.lower(module, known=self.known(), code=False)
        with self._of_text():
            plan, weights = plan_of(lowered), lowered.weights
        bytes = {key: weights.nbytes(key) for key in plan.weights}
        return call_memory(plan, bytes, weights.packed, sizes, self.options.threads)

    def link(self, module: Module, lowered: Module, code: Code) -> Executable:
        """The executable of a module that was lowered and compiled."""
        from mlc.ir.processors import available_cpus
        from mlc.runtime.artifact import Artifact
        from mlc.runtime.executable import Executable

        with stage("link", self.progress, self.seconds) as step:
            kept = self.portable or module.clone()
            kept.weights = lowered.weights  # which knows how weights were packed
            weights = lowered.weights.get_all(code.plan.weights, available_cpus())
            made = Executable(
                Artifact(
                    code.plan,
                    code.objects,
                    weights,
                    self.target,
                    code.entry,
                    self.report,
                    portable.write(kept, weights),
                    self.options.threads,
                    code.names,
                ),
                store=self._given.weights if self._given is not None else None,
                made=lowered.weights,
            )
            step.text = (
                f"{len(code.plan.steps)} kernel calls, weights {bytes_text(sum(w.nbytes for w in weights.values()))}"
            )
        if planned := self.report.get("memory"):
            planned["arena"] = made.memory_analysis(**planned["sizes"]).buffers
        made.report.update(
            seconds=dict(self.seconds),
            target=str(self.target),
            source=module.source,
            sha256=self._digest(),
            precision=self.options.precision,
            denormals=self.options.denormals,
            opt_level=self.options.opt_level,
            versions=versions(),
        )
        return made

    def compile(self, source: Source, known: Mapping[str, np.ndarray] | None = None) -> Executable:
        """All stages."""
        module = self.load(source, known)
        return self.finish(module)

    def finish(self, module: Module) -> Executable:
        """From a loaded module to its executable; from the cache where an earlier compilation made it."""
        asked = self._request_for(module)
        if asked is not None and asked.text is not None and (found := compilation_cache.find(asked)) is not None:
            from mlc.warm_start import derived_weights

            derived = derived_weights(found.record, module, asked.text, Compilation(self.options).lower)
            weights = partial(derived.get_all, found.record.artifact.plan.weights)
            return self._of_record(found.record, weights, module, derived)
        before, known = dict(self.report), self.known()
        with without_collections():
            lowered = self.lower(module, known=known)
            made = self.link(module, lowered, self.generate(lowered, known))
        if asked is not None:
            self._keep(asked, module, lowered, made, before)
        return made

    def keep_as(self, asked: compilation_cache.Request) -> None:
        """What is compiled next is the answer to a request that found none."""
        self._request, self._digest = (asked, self.options), asked.digest

    def _request_for(self, module: Module) -> compilation_cache.Request | None:
        if not self.uses_cache:
            return None
        if self._request is not None and module is self._loaded and self._request[1] is self.options:
            return self._request[0]
        return compilation_cache.of_module(self.options, module)

    def _of_record(
        self,
        record: CompilationRecord,
        weights: Callable[[], Mapping[str, np.ndarray]],
        module: Module | None = None,
        derived: WeightStore | None = None,
    ) -> Executable:
        """The executable that an earlier compilation was kept of; of a module with the weights derived from those that it has now."""
        from mlc.runtime.executable import Executable

        with stage("cache", self.progress, self.seconds) as step:
            artifact = replace(record.artifact, weights=weights(), threads=self.options.threads)
            made = Executable(artifact, store=self._given.weights if self._given is not None else None, made=derived)
            step.text = f"warm: {compilation_cache.WARM}; {len(artifact.plan.steps)} kernel calls"
        self.report = {**artifact.report, **self.report, "objects": {"compiled": 0, "cached": record.objects}}
        self.report.update(passes=[], warm=compilation_cache.WARM)
        made.report.update(self.report, seconds=dict(self.seconds), sha256=self._digest())
        if module is not None:
            made.report["source"] = module.source
        return made

    def _keep(
        self,
        asked: compilation_cache.Request,
        module: Module,
        lowered: Module,
        made: Executable,
        before: Mapping[str, Any],
    ) -> None:
        """Keep what was compiled for the next one that asks for it."""
        from mlc.warm_start import record_of

        passing = {"seconds", "passes", "objects", *before}
        report = {name: value for name, value in made.report.items() if name not in passing}
        record = record_of(asked, module, lowered, made, report, sum(made.report["objects"].values()))
        if why_not := compilation_cache.keep(asked, record):
            _log.info("the compilation is not kept: %s", why_not)

    def _manager(self, passes: Sequence[Pass]) -> PassManager:
        from mlc.passes.manager import PassManager

        look = self.inspection
        return PassManager(
            passes,
            print_before=look.print_before,
            print_after=look.print_after,
            print_on_change=look.print_on_change,
            dump=look.dump,
            verify_each=self.options.verify_each,
            stop_after=look.stop_after,
            time=look.time,
            stream=look.stream,
        )


def compile(
    source: Source,
    target: str = "cpu",
    arch: str = "native",
    *,
    shapes: Mapping[str, Sequence[int | str]] | None = None,
    dims: Mapping[str, int | tuple[int, int | None] | DimRange] | None = None,
    specialise: Sequence[Variant] | None = None,
    threads: int | None = None,
    opt_level: int = 2,
    progress: Progress | None = None,
    **more: Any,
) -> Executable | Specialising | Grouped | Structured:
    """Compile a model: a path, bytes, a ModelProto or a Module. The code serves every size that symbolic dimensions may have.

    exe = mlc.compile("model.onnx", shapes={"x": ("N", 3, 224, 224)}, dims={"N": (1, 32)}, specialise=[{"N": 8}])
    y = exe(x)

    The other keywords are the fields of mlc.CompileOptions. `progress` is called with an mlc.progress.Event per step. Where values of an
    input decide shapes, or sizes decide ranks, the result compiles for each new value or case it is called with. Raises MlcError for whatever the caller can mend.
    """
    if progress is not None and not callable(progress):
        raise MlcError(f"progress is {progress!r}", remedy="Give a function that takes an mlc.progress.Event.")
    options = CompileOptions.of(
        target=target,
        arch=arch,
        shapes=shapes,
        dims=dims,
        specialise=specialise,
        threads=threads,
        opt_level=opt_level,
        **more,
    )
    return compile_with(options, source, progress)


def compile_with(
    options: CompileOptions, source: Source, progress: Progress | None = None, inspection: Inspection | None = None
) -> Executable | Specialising | Grouped | Structured:
    """As `compile`, with options made before."""
    from mlc.cases import Specialising, declared_inputs
    from mlc.frontends.onnx.node import NeedsSize, NeedsValue
    from mlc.frontends.onnx.structure import NeedsForm
    from mlc.grouped import Grouped
    from mlc.sequences import Structured

    compilation = Compilation(options, progress, inspection or Inspection())
    if (found := compilation.find(source)) is not None:
        return found
    try:
        module = compilation.load(source, answers={})
    except NeedsForm:
        return Structured(source, options, partial(compile_with, options))
    except (NeedsValue, NeedsSize) as error:
        return Specialising(declared_inputs(source, options), error, partial(_compile_case, source, options))
    forms = module.forms
    executable = compilation.finish(module)
    return executable if forms is None else Grouped(executable, forms)


def _compile_case(
    source: Source, options: CompileOptions, known: Mapping[str, np.ndarray], answers: Mapping[Extent, bool]
) -> Executable | Grouped:
    """The executable for values of inputs and answers to questions about sizes."""
    from mlc.grouped import Grouped

    compilation = Compilation(options)
    module = compilation.load(source, known, answers)
    forms = module.forms
    executable = compilation.finish(module)
    return executable if forms is None else Grouped(executable, forms)


def load_executable(
    path: str | os.PathLike[str],
    threads: int | None = None,
    strict: bool = False,
    progress: Progress | None = None,
    verify: bool = False,
) -> Executable:
    """The executable in a package that `exe.save` or `mlc compile` wrote, with the threads it was compiled for unless others are asked for.

    Where its code does not run on this machine it is compiled again from the module in the package; a warning is logged, and
    `report["rebuilt"]` says why. With `strict` this is an error: TargetUnavailable, naming what the machine lacks. `verify` also reads all
    weights and tests their checksums. Raises InvalidModel for a file that is damaged or no package.
    """
    from mlc.runtime.executable import loaded
    from mlc.runtime.package import read

    package = read(require_path(path))
    if verify:
        package.verify()
    _require_threads(threads, package.target)
    missing = package.target.missing()
    return loaded(package, threads) if strict or not missing else _rebuilt(package, missing, threads, progress)


def _rebuilt(package: Package, missing: list[str], threads: int | None, progress: Progress | None) -> Executable:
    """A package compiled again for this machine."""
    options = CompileOptions.of(
        target=package.target.kind,
        threads=threads or package.threads,
        specialise=package.report.get("specialise"),
        denormals=package.report.get("denormals"),
        precision=package.report.get("precision"),
    )
    compilation = Compilation(options, progress)
    _log.warning(
        "%s: its code is for %s and this machine has no %s: it is compiled again",
        package.path,
        package.target.name,
        ", ".join(missing),
    )
    module = portable.read(package.module_text, package.weights, f"{package.path}: module.mlir")
    module.source = package.report.get("source")
    compilation.report["rebuilt"] = {"code_for": package.target.name, "missing": missing}
    return compilation.finish(module)


def _require_threads(threads: int | None, target: Target) -> None:
    """Raises MlcError for a number of threads where calls share their work otherwise."""
    if threads is not None and "parallel" not in target.lowering.binds:
        raise MlcError(
            f"threads is {threads}, and target {target.kind} has no threads that a call takes so many of",
            remedy="Leave it out (--threads): it is for CPUs.",
        )


def _check_available(options: CompileOptions) -> None:
    """Raises TargetUnavailable for what this version has no code for."""
    if options.keep_f32:
        raise TargetUnavailable(f"this version of mlc keeps no single nodes in f32, as '{options.keep_f32[0]}'")


def stored_lines(facts: Mapping[str, Any] | None) -> list[str]:
    """What was taken of a store of schedules, if there was one."""
    if facts is None:
        return []
    left = f", {len(facts['left'])} fit no more" if facts["left"] else ""
    return [
        f"{facts['used']} of {facts['entries']} measured schedules apply, {facts['for_machine']} are for this machine{left}"
    ]


def _summary(manager: PassManager, kernels: Sequence[Mapping[str, Any]]) -> str:
    if not manager.records:
        return "no passes"
    done, total = len(manager.records), len(manager.sequence)
    if not kernels:
        return f"{done} of {total} passes, {manager.records[0].ops_before} -> {manager.records[-1].ops_after} ops"
    calls = sum(len(kernel["calls"]) for kernel in kernels)
    return f"{done} of {total} passes, {manager.records[0].ops_before} ops -> {calls} calls of {len(kernels)} kernels"
