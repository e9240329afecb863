"""Chrome traces: their form, that events nest, and that they cover the passes and the kernels."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

import mlc
from mlc.cli import main
from mlc.insight.trace import Span, text

MODEL = Path(mlc.__file__).parent / "demo/digits.onnx"
EPSILON = 1e-6  # of microseconds


def events(path: Path) -> list[dict[str, Any]]:
    """The complete events of a trace, after a look at its form."""
    content = json.loads(path.read_text())
    assert content.keys() == {"traceEvents", "displayTimeUnit"}
    first, *rest = content["traceEvents"]
    assert first["ph"] == "M" and first["name"] == "process_name"
    for event in rest:
        assert event["ph"] == "X" and event["ts"] >= 0 and event["dur"] >= 0 and isinstance(event["args"], dict)
        assert (event["pid"], event["tid"]) == (first["pid"], first["tid"])
    return rest


def within(outer: dict[str, Any], found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    end = outer["ts"] + outer["dur"] + EPSILON
    return [e for e in found if e is not outer and e["ts"] + EPSILON >= outer["ts"] and e["ts"] + e["dur"] <= end]


def require_nesting(found: list[dict[str, Any]]) -> None:
    """Any two events on a track are one inside of the other, or apart."""
    ordered = sorted(found, key=lambda e: (e["ts"], -e["dur"]))
    for first, second in combinations(ordered, 2):
        assert second in within(first, found) or first["ts"] + first["dur"] <= second["ts"] + EPSILON, (first, second)


def test_a_compilation_shows_its_stages_and_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["compile", str(MODEL), "-q", "--trace", "out.json"]) == 0
    found = events(tmp_path / "out.json")
    require_nesting(found)
    by_name = {event["name"]: event for event in found}
    passes = within(by_name["optimise"], found)
    assert [e["name"] for e in found if e not in passes] == ["import", "optimise", "codegen", "link"]
    report = mlc.load_executable("digits.mlc").report
    assert [e["name"] for e in passes] == [step.partition("{")[0] for step in report["pipeline"]]
    assert set(by_name["codegen"]["args"]) == {"compiled", "cached"}


@pytest.mark.parametrize("verb", [["run"], ["bench", "--seconds", "0.01"]])
def test_a_run_shows_every_kernel_with_its_nodes(
    verb: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    exe = mlc.compile(MODEL)
    exe.save("digits.mlc")
    for model in ("digits.mlc", str(MODEL)):
        assert main([*verb, model, "-q", "--dim", "N=2", "--trace", "out.json"]) == 0
        call, *kernels = events(tmp_path / "out.json")
        require_nesting([call, *kernels])
        assert within(call, [call, *kernels]) == kernels
        assert [(k["name"], k["args"]["nodes"]) for k in kernels] == [(s.kernel, [*s.source]) for s in exe.plan.steps]
        assert call["dur"] == pytest.approx(sum(k["dur"] for k in kernels))


def test_a_span_is_as_long_as_what_is_inside_of_it(tmp_path: Path) -> None:
    spans = [Span("a", 5, [Span("b", 4), Span("c", 3)]), Span("d", 1, details={"n": 3})]
    (tmp_path / "out.json").write_text(text("t", spans))
    found = events(tmp_path / "out.json")
    assert [(e["name"], e["ts"], e["dur"]) for e in found] == [
        ("a", 0, 0.007),
        ("b", 0, 0.004),
        ("c", 0.004, 0.003),
        ("d", 0.007, 0.001),
    ]
    assert found[3]["args"] == {"n": 3}
