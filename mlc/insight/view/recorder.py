"""What the compiler tells a page on its way, and what is added when the code has run.

Each method writes a part of the file at once. Texts are taken where they are made: structured ops before kernels become loops, code when it is
generated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlc.errors import MlcError, UnsupportedOp
from mlc.insight.view.page import FORMAT, PageFile
from mlc.insight.view.user_lines import relative_lines

if TYPE_CHECKING:
    import numpy as np

    from mlc.codegen.code import Code
    from mlc.ir.dims import Extent
    from mlc.ir.kernel.target import Target
    from mlc.ir.module import Module
    from mlc.passes.base import Pass
    from mlc.passes.manager import PassRecord
    from mlc.runtime.executable import Executable


class Recorder:
    """Writes the page of one compilation; `side` is its number on a page of two. `assembly` costs a second run of LLVM over each kernel."""

    def __init__(self, file: PageFile, name: str, side: int = 0, assembly: bool = False):
        self.file, self.name, self.side, self.assembly = file, name, side, assembly
        self._graphs: Any = None
        self._structured: Mapping[str, list[str]] = {}
        self._steps: list[dict[str, Any]] = []

    def add(self, kind: str, content: Any, name: str = "") -> None:
        self.file.add(kind, content, self.side, name)

    # While it is compiled --------------------------------------------------------------------------------------------
    @property
    def has_graph(self) -> bool:
        return self._graphs is not None

    def begin(self, module: Module, target: str, by_text: bool = False) -> None:
        """The module that goes in. `by_text`: the passes come as texts, in which ops are known again by what they say."""
        from mlc.insight.view.records import Graphs
        from mlc.ir.types import shape_text
        from mlc.passes.manager import count_ops

        rows = zip(module.input_names, module.input_types, strict=True)
        model = {
            "name": self.name,
            "inputs": [f"{name}: {dtype}{shape_text(shape)}" for name, (shape, dtype) in rows],
            "target": target,
        }
        self._graphs = Graphs(by_text)
        self.add("model", {"format": FORMAT, "model": model, "nodes": nodes_of(module)})
        self._pass("input", "What was imported.", 0.0, count_ops(module), module)

    def after(self, done: Pass, record: PassRecord, module: Module) -> None:
        """The module after a pass. Of a program the calls in @main: before they are loops, the texts of kernels."""
        from mlc.insight.view.kernels import structured

        self._pass(done.name, (done.__doc__ or "").split("\n\n")[0], record.seconds, record.ops_after, module)
        if done.gives == "schedules":
            self._structured = structured(module)

    def read(self, name: str, module: Module, scheduled: bool) -> None:
        """As `after`, of a module that was read; `scheduled` where it is the first whose kernels have schedules."""
        from mlc.insight.view.kernels import structured
        from mlc.passes.manager import count_ops

        self._pass(name, "", 0.0, count_ops(module), module)
        if scheduled:
            self._structured = structured(module)

    def as_it_came(self, graph: tuple[list[list[Any]], dict[str, Any]]) -> None:
        """The graph of a model that could not be imported."""
        rows, nodes = graph
        self.add("model", {"format": FORMAT, "model": {"name": self.name, "inputs": [], "target": ""}, "nodes": nodes})
        about = {"name": "model", "does": "The graph as it came.", "seconds": 0.0, "ops": len(rows), "program": False}
        self.add("pass", {**about, "records": rows, "nodes": [int(n > 0) for n in range(len(rows))]})

    def _pass(self, name: str, does: str, seconds: float, ops: int, module: Module) -> None:
        fresh, numbers = self._graphs.add(module)
        steps = [number - before for number, before in zip(numbers, [0, *numbers], strict=False)]
        about = {"name": name, "does": " ".join(does.split()), "seconds": round(seconds, 6), "ops": ops}
        self.add("pass", {**about, "program": module.is_program, "records": fresh, "nodes": steps})

    def kernels(self, lowered: Module, kernels: Sequence[Mapping[str, Any]]) -> None:
        """The calls of a lowered module and its kernels, by the report of the compilation."""
        from mlc.ir.kernel import program
        from mlc.ir.sample_sizes import sample_binding

        if not kernels or not lowered.is_program:
            return
        sizes = {**dict.fromkeys(lowered.counted, 0), **sample_binding(lowered)}
        waiting = {kernel["name"]: iter(kernel["calls"]) for kernel in kernels}
        shares = [_shares(group, sizes) for group in self._graphs.groups]
        clock = program.clock(lowered.main)
        at = 0
        for call in lowered.main.walk():
            at = clock.get(call, at)
            if not isinstance(call, program.CallOp):
                continue
            row = next(waiting[call.kernel], {"flops": "0", "bytes": "0"})
            source, group = [name.data for name in call.source.data], program.group_of(call)
            known = shares[group] if group is not None and group < len(shares) else {}
            self._steps.append(
                {
                    "kernel": call.kernel,
                    "source": source,
                    "weights": _normalised([known.get(node, 0.0) for node in source]),
                    "group": -1 if group is None else group,
                    "at": at,
                    "flops": _value(row["flops"], sizes),
                    "bytes": _value(row["bytes"], sizes),
                }
            )
        about = [
            {
                "name": kernel["name"],
                "schedule": kernel["schedule"],
                "notes": kernel["notes"],
                "ops": kernel["ops"],
                "fusion": kernel["calls"][0]["fusion"],
                "copies": kernel["calls"][0]["copies"],
                "code": list(kernel.get("code", ())),
            }
            for kernel in kernels
        ]
        groups = [self._graphs.number(group) for group in self._graphs.groups]
        self.add("kernels", {"steps": self._steps, "kernels": about, "groups": groups})

    def code(self, lowered: Module, code: Code, target: Target) -> None:
        """The texts of the kernels."""
        from mlc.insight.view.kernels import all_texts

        for name, texts in all_texts(lowered, self._structured, code, target, self.assembly).items():
            self.add("text", texts, name)

    def failed(self, error: Exception) -> None:
        """What a compilation ended with; nodes that cannot be compiled with their reasons."""
        message = str(error) if isinstance(error, MlcError) else f"{type(error).__name__}: {error}"
        if isinstance(error, UnsupportedOp):
            reasons = {node: f"{kind.op}: {kind.reason}" for kind in error.kinds for node in kind.nodes}
            self.add("unsupported", reasons)
        self.add("failure", {"message": message})

    # When it is there ------------------------------------------------------------------------------------------------
    def memory(self, executable: Executable, sizes: Mapping[str, int], before: Mapping[str, Any] | None = None) -> None:
        """The plan of a call's memory at these sizes; `before` a budget was kept to, what it would have been."""
        use = executable.memory_analysis(**sizes)
        found: dict[str, Any] = {
            "arena": use.arena,
            "scratch": use.scratch,
            "peak": use.peak,
            "step": use.step,
            "outputs": use.outputs,
            "weights": use.weights,
            "sizes": dict(sizes),
            "buffers": [
                {
                    "offset": row.offset,
                    "bytes": row.bytes,
                    "first": row.first,
                    "last": row.last,
                    "makers": list(row.makers),
                    "readers": list(row.readers),
                }
                for row in use.lifetimes
            ],
        }
        if before:
            found["before"] = {"peak": before["without"]}
        self.add("memory", found)

    def times(self, executable: Executable, feeds: Mapping[str, np.ndarray], seconds: float) -> None:
        """The times of calls, and of each kernel in them."""
        from mlc.backends import backend
        from mlc.insight.machine import LoadMeter
        from mlc.insight.timing import kernels, latencies

        meter = LoadMeter()
        breakdown = kernels(executable, feeds, seconds)
        load = meter.read()
        inspector = backend(executable.target.kind).inspector
        machine = None if inspector is None else inspector.peaks(executable.threads)
        steps: list[dict[str, Any]] = [{"ns": 0.0, "turns": 1.0} for _ in executable.plan.steps]
        for row in breakdown.kernels:
            predicted = round((row.predicted or 0.0) * 1e6)
            steps[row.step] = {
                "ns": round(row.ms * 1e6),
                "turns": row.turns,
                "predicted": predicted,
                "bound": row.bound,
            }
        self.add(
            "times",
            {
                "ns": [step["ns"] for step in steps],
                "turns": [step["turns"] for step in steps],
                "predicted": [step.get("predicted", 0) for step in steps],
                "bound": [step.get("bound") or "" for step in steps],
                "end_to_end": round(breakdown.end_to_end * 1e6),
                "busy": str(load) if load is not None and load.busy else "",
                "latency": [round(ms, 4) for ms in latencies(executable, feeds, seconds)],
                "machine": machine and {"gflops": round(machine.gflops, 1), "gbs": round(machine.gbytes, 1)},
            },
        )

    def overlay(self, name: str, of: Mapping[str, float]) -> None:
        """Numbers of nodes, as the errors that a comparison found, laid over the graph."""
        self.add("overlay", {"name": name, "of": dict(of)})


def page(path: str | Path, title: str) -> PageFile:
    """A page that is begun. Raises OSError where it cannot be written."""
    return PageFile(Path(path), title)


def nodes_of(module: Module) -> dict[str, dict[str, Any]]:
    """Of each node of the user's model the modules it is in, outermost first, and the line of Python it was written at, as far as they are known:
    by what the exporter wrote beside the node, else by names like /encoder/layer.0/MatMul."""
    from mlc.ir.graph.base import location_name

    found: dict[str, dict[str, Any]] = {}
    for op in module.main.walk():
        name = location_name(op)
        if name is None or name in found:
            continue
        origin = module.nodes.get(name)
        if origin is not None:
            found[name] = {"path": list(origin.path), "line": origin.line}
        elif "/" in name.strip("/") and ":" not in name:
            found[name] = {"path": [part for part in name.split("/")[:-1] if part]}
    return relative_lines(found)


def _shares(group: Any, sizes: Mapping[str, int]) -> dict[str, float]:
    """By node, what part of a group's work its ops are: operations, and elements that are written."""
    from mlc.ir import dims
    from mlc.ir.graph.base import GraphOp, location_name
    from mlc.ir.types import shape_of

    found: dict[str, float] = {}
    for op in group.body.block.ops:
        name = location_name(op)
        if name is None or not isinstance(op, GraphOp) or not op.results:
            continue
        work = _value(op.flops, sizes) + _value(dims.prod(shape_of(op.results[0])), sizes)
        found[name] = found.get(name, 0.0) + work
    return found


def _normalised(values: list[float]) -> list[float]:
    total = sum(values)
    return [round(v / total, 6) for v in values] if total else [1 / max(1, len(values))] * len(values)


def _value(extent: Extent | str, sizes: Mapping[str, int]) -> int:
    from mlc.ir import dims

    return dims.evaluate(dims.parse(extent) if isinstance(extent, str) else extent, sizes)
