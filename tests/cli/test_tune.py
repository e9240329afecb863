"""`mlc tune` and `mlc compile --tune`: files written, merged, and refused. Nothing is timed but as long as it must be."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mlc.ir.kernel.cpu_target import cpu_target
from mlc.ir.kernel.schedule_store import ScheduleStore, StoredSchedule, machine

ENTRY = StoredSchedule(machine(cpu_target()), "0123", "Scalar", "Scalar", 1.25)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlc.schedule_search.ROUND", 0.0)
    monkeypatch.setattr("mlc.schedule_search.SEARCHED", 0.0)  # the rules' own variant is all that is measured


def test_tune_writes_a_store_and_keeps_what_was_in_it(mlc: Callable, small: Path, tmp_path: Path) -> None:
    path = tmp_path / "store.json"
    ScheduleStore((ENTRY,)).save(path)
    outcome = mlc("tune", small, "--time", "1s", "--tune-store", path, "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert found["entries"] == 1 and found["kernels"] == [] and found["gain"] == 1
    assert ScheduleStore.read(path).entries == (ENTRY,)
    outcome = mlc("explain", small, "--tune-store", path, "--tune-store", path)
    assert outcome.code == 0 and "0 of 1 measured schedules apply, 1 are for this machine" in outcome.err


def test_compile_tunes_first_where_it_is_asked_to(mlc: Callable, small: Path, tmp_path: Path) -> None:
    outcome = mlc("compile", small, "-o", tmp_path / "m.mlc", "--tune", "1s", "--tune-store", tmp_path / "s.json")
    assert outcome.code == 0 and "none" not in outcome.out
    assert ScheduleStore.read(tmp_path / "s.json") == ScheduleStore()
    assert (tmp_path / "m.mlc").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["tune", "SMALL", "--time", "soon"], "'soon' is no time"),
        (["tune", "SMALL", "--tune-store", "-"], "names no file"),
        (["tune", "SMALL", "--tune-store", "a.json", "--tune-store", "b.json"], "one is to be written"),
        (["tune", "SMALL", "--tune-store", "SMALL"], "what the command reads"),
        (["compile", "SMALL", "--tune-store", "nowhere.json"], "cannot read the store of schedules nowhere.json"),
        (["compile", "SMALL", "--tune", "1s", "--emit", "mlir"], "--tune is for what runs"),
        (["compile", "SMALL", "--tune", "1s", "--train", "mse"], "not of steps of training"),
    ],
)
def test_what_makes_no_sense_is_refused(mlc: Callable, small: Path, words: list[str], says: str) -> None:
    outcome = mlc(*[small if word == "SMALL" else word for word in words])
    assert outcome.code == 1 and says in outcome.err
