"""Tables of whole models: what counts as the best of the others, and when a time is not believed."""

from typing import Any

import numpy as np
import pytest

from benchmarks.measure import alternated, relative_error
from benchmarks.run import latency_table

ENGINES = ["mlc", "onnxruntime", "openvino"]


def row(name: str, mlc: float, others: tuple[float, float], halves: float = 0.0, gflop: float = 1.0) -> dict[str, Any]:
    """Times in ms; rested calls take twice as long, mlc's four times. The machine's peak is 100 GFLOP/s."""
    times = dict(zip(ENGINES, (mlc, *others), strict=True))
    found = {e: {"median_ms": t, "rested_ms": t * (4 if e == "mlc" else 2), "halves": 0.0} for e, t in times.items()}
    found["mlc"]["halves"] = halves
    return {"model": name, "latency_1": found, "work": {"gflop": gflop, "peak_gflops": 100.0}}


def cells(table: str, name: str) -> list[str]:
    return next(line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith(f"| {name} "))


def test_the_fastest_other_counts() -> None:
    table = latency_table([row("a", 20.0, (30.0, 40.0)), row("b", 20.0, (50.0, 10.0))], 1, ENGINES)
    assert cells(table, "a")[4:7] == ["1.50", "0.75", "50%"]
    assert cells(table, "b")[4:6] == ["0.50", "0.25"]
    assert cells(table, "geometric mean")[-2:] != cells(table, "a")[-2:] and "0.87" in cells(table, "geometric mean")


def test_a_missing_engine_leaves_the_rest() -> None:
    found = row("a", 20.0, (30.0, 40.0))
    del found["latency_1"]["onnxruntime"]
    assert cells(latency_table([found], 1, ENGINES), "a")[2:5] == ["-", "40.00", "2.00"]
    assert "-" in cells(latency_table([{"model": "none", "failed": {}}], 1, ENGINES), "none")


@pytest.mark.parametrize(
    ("halves", "gflop", "said"),
    [(0.04, 2.05, ""), (0.06, 1.0, "noisy"), (0.0, 2.2, "impossible"), (0.1, 3.0, "impossible, noisy")],
)
def test_what_is_not_believed(halves: float, gflop: float, said: str) -> None:
    line = next(
        text
        for text in latency_table([row("a", 20.0, (30.0, 40.0), halves, gflop)], 1, ENGINES).splitlines()
        if text.startswith("| a ")
    )
    assert line.split("|")[-2].strip() == said


def test_halves_of_the_rounds_are_compared() -> None:
    calls = iter([0.0, 1.0, 1.0, 1.0, 1.5, 1.5, 1.5])
    found = alternated({"e": lambda _seconds: next(calls)}, 6, 0.0)
    assert found["e"]["halves"] == pytest.approx(0.5)


def test_an_error_without_a_number_is_infinite() -> None:
    one, nan = np.ones(2, np.float32), np.array([1, np.nan], np.float32)
    assert relative_error([nan], [one]) == relative_error([one], [nan]) == float("inf")
    assert relative_error([one], [one.astype(np.float64)]) == 0.0
    assert relative_error([one], [np.ones(3, np.float32)]) == float("inf")
