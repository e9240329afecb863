"""`mlc check PACKAGE`: what a package holds: signature, sizes, target, versions, and the model and options it was made of."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from mlc.cli import sizes
from mlc.cli.command_line import UsageError
from mlc.cli.console import Console
from mlc.cli.session import require_file
from mlc.cli.source import Model, require_as_compiled
from mlc.errors import TargetUnavailable
from mlc.insight.numbers import quantity
from mlc.insight.summary import Value, symbol_text
from mlc.ir.byte_counts import bytes_text

if TYPE_CHECKING:
    from mlc.insight.footprint import CallMemory
    from mlc.runtime.package import Package


def run(args: argparse.Namespace, source: Model, console: Console) -> int:
    """Exit code 4 with --strict where its code does not run on this machine."""
    from mlc.runtime.loaders import LOADERS
    from mlc.runtime.package import read

    require_as_compiled(args, source)
    package = read(require_file(source))
    package.verify()
    plan, report = package.plan, package.report
    memory = _memory(args, package, source)
    missing, lacking = package.target.missing(), LOADERS[package.target.kind].lacking()
    if (missing or lacking) and args.strict:
        again = (
            "Without --strict it is compiled again where it is loaded."
            if not lacking
            else "mlc doctor says how to get it."
        )
        raise TargetUnavailable(
            f"the code in {source.name} is for {package.target.name}, and this machine has no {', '.join([*missing, *lacking])}",
            remedy=again,
        )
    inputs, outputs = ([Value(t.name, t.dtype, t.shape) for t in specs] for specs in (plan.inputs, plan.outputs))
    parameters = sum(array.size for array in package.weights.values())
    weight_bytes = sum(array.nbytes for array in package.weights.values())
    facts: dict[str, Any] = {
        "mlc": package.version,
        "target": str(package.target),
        "runs_here": not (missing or lacking),
        "missing": [*missing, *lacking],
        "precision": report.get("precision"),
        "denormals": report.get("denormals"),
        "opt_level": report.get("opt_level"),
        "pipeline": report.get("pipeline", []),
        "specialise": report.get("specialise", []),
        "source": report.get("source"),
        "sha256": report.get("sha256"),
        "versions": report.get("versions", {}),
        "kernels": len({step.kernel for step in plan.steps}),
        "calls": len(plan.steps),
        "parameters": parameters,
        "weight_bytes": weight_bytes,
    }
    checks = [f"{check.lhs} = {check.rhs}{f' ({check.message})' if check.message else ''}" for check in plan.checks]
    console.result(
        "check",
        model=source.name,
        package=facts,
        inputs=[_fields(value) for value in inputs],
        outputs=[_fields(value) for value in outputs],
        symbols={name: list(bounds) for name, bounds in plan.symbols.items()},
        counted={name: str(most) for name, most in plan.counted.items()},
        checks=checks,
        memory=memory.facts(),
    )
    size = bytes_text(package.path.stat().st_size)
    console.print(f"{source.name}  package of {size}, by mlc {package.version}")
    width = max((len(value.name) for value in [*inputs, *outputs]), default=0)
    for title, values in (("inputs", inputs), ("outputs", outputs)):
        _lines(console, title, [f"{value.name.ljust(width)}  {value}" for value in values])
    _lines(
        console,
        "weights",
        [
            f"{quantity(parameters)} numbers in {len(package.weights)} tensors, {bytes_text(weight_bytes)}; their checksums are right"
        ],
    )
    _lines(console, "memory", memory.lines())
    bounds = ", ".join(map(symbol_text, plan.symbols.items()))
    special = "; ".join(", ".join(f"{n} = {s}" for n, s in row.items()) for row in facts["specialise"])
    _lines(console, "sizes", [bounds + (f"; code of its own for {special}" if special else "")] if bounds else [])
    counted = ", ".join(f"{name} (at most {most})" for name, most in plan.counted.items())
    _lines(console, "counted", [f"{counted}: the data of each call decides"] if counted else [])
    _lines(console, "at call", checks)
    here = f"no: this machine has no {', '.join([*missing, *lacking])}" if missing or lacking else "yes"
    here += "; loading compiles it again" if missing and not lacking else ""
    _lines(console, "target", [str(package.target), f"runs on this machine: {here}"])
    _lines(console, "code", [f"{facts['calls']} calls of {facts['kernels']} kernels"])
    kept = {"flush": "; denormals count as 0", "keep": "; denormals are kept"}.get(facts["denormals"], "")
    _lines(console, "precision", [facts["precision"] + kept] if facts["precision"] else [])
    level = f"-O{facts['opt_level']}: " if facts["opt_level"] is not None else ""
    _lines(console, "passes", [level + ", ".join(facts["pipeline"])] if facts["pipeline"] else [])
    made_of = [facts["source"] or "a model in memory"] + ([f"sha256 {facts['sha256']}"] if facts["sha256"] else [])
    _lines(console, "source", made_of)
    _lines(
        console, "made with", [", ".join(f"{k} {v}" for k, v in facts["versions"].items())] if facts["versions"] else []
    )
    return 0


def _memory(args: argparse.Namespace, package: Package, source: Model) -> CallMemory:
    """Of a call at the sizes that --dim fixes, others as small as they may be."""
    from mlc.insight.footprint import call_memory
    from mlc.ir.sample_sizes import sample_binding
    from mlc.runtime import portable

    fixed = sizes.fixed(args.dim)
    for name in fixed:
        if name not in package.plan.symbols and name not in package.plan.counted:
            raise UsageError.unknown("dimension", name, package.plan.symbols)
    module = portable.read(package.module_text, package.weights, f"{source.name}: module.mlir")
    bytes = {key: array.nbytes for key, array in package.weights.items()}
    at = sample_binding(module, fixed, preferred=1)
    return call_memory(package.plan, bytes, module.weights.packed, at, package.threads)


def _lines(console: Console, title: str, lines: list[str]) -> None:
    for number, line in enumerate(lines):
        console.print(f"{title if not number else '':<10} {line}")


def _fields(value: Value) -> dict[str, Any]:
    return {
        "name": value.name,
        "dtype": value.dtype,
        "shape": [e if isinstance(e, int) else str(e) for e in value.shape],
    }
