"""Chrome traces: JSON that Perfetto (ui.perfetto.dev) and chrome://tracing open, from times that were taken anyway.

    compile      import | optimise | codegen | link        run      one call
                          passes                                    its kernels, with the nodes they compute

Lengths are measured. Starts are not: what happens inside of something is laid end to end from its start.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlc.runtime.executable import StepTime


@dataclass(frozen=True)
class Span:
    """Something that took `nanoseconds`, what it consists of, and details to show."""

    name: str
    nanoseconds: int
    inside: Sequence[Span] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


def compilation(seconds: Mapping[str, float], report: Mapping[str, Any]) -> list[Span]:
    """The stages of a compilation, by the times and the report of a mlc.compiler.Compilation."""
    passes = [
        Span(row["name"], round(row["seconds"] * 1e9), details={"ops": row["ops"]}) for row in report.get("passes", ())
    ]
    inside = {"optimise": passes}
    details = {"codegen": report.get("objects", {})}
    return [
        Span(name, round(took * 1e9), inside.get(name, ()), details.get(name, {})) for name, took in seconds.items()
    ]


def call(steps: Sequence[StepTime]) -> list[Span]:
    """One call of an executable, from its profile."""
    kernels = [
        Span(step.kernel, round(step.nanoseconds), details={"nodes": list(step.source), "turns": step.turns})
        for step in steps
    ]
    return [Span("call", 0, kernels)]


def text(title: str, spans: Sequence[Span]) -> str:
    """The trace as JSON; `title` names its only track."""
    name = {"name": "process_name", "ph": "M", "pid": 1, "tid": 1, "args": {"name": title}}
    return json.dumps({"displayTimeUnit": "ms", "traceEvents": [name, *_events(spans, 0)]}, indent=1)


def _events(spans: Sequence[Span], start: int) -> Iterator[dict[str, Any]]:
    """Complete events, times in microseconds."""
    for span in spans:
        length = _length(span)
        yield {
            "name": span.name,
            "ph": "X",
            "ts": start / 1000,
            "dur": length / 1000,
            "pid": 1,
            "tid": 1,
            "args": dict(span.details),
        }
        yield from _events(span.inside, start)
        start += length


def _length(span: Span) -> int:
    return max(span.nanoseconds, sum(map(_length, span.inside)))
