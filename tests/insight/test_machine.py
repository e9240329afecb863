"""The load of a machine, read from counters that a test writes."""

from pathlib import Path

import pytest

from mlc.insight import machine


def write(path: Path, working: int, stolen: int) -> None:
    """Counters in ticks, as Linux has them: user nice system idle iowait irq softirq steal."""
    path.write_text(f"cpu  {working} 0 0 1000 0 0 0 {stolen} 0 0\ncpu0 1 2 3\n")


def test_time_of_others_and_stolen_time_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"wall": 100.0, "own": 5.0}
    monkeypatch.setattr(machine.time, "perf_counter", lambda: clock["wall"])
    monkeypatch.setattr(machine.time, "process_time", lambda: clock["own"])
    monkeypatch.setattr(machine.os, "sysconf", lambda _: 100)
    stat = tmp_path / "stat"
    write(stat, 1000, 0)
    meter = machine.LoadMeter(stat)
    clock.update(wall=102.0, own=6.0)
    write(stat, 1250, 40)
    load = meter.read()
    assert load is not None and load.busy
    assert (load.own, load.others, load.stolen) == pytest.approx((0.5, 0.75, 0.2))
    assert "other processes used 0.8" in str(load) and "hypervisor" in str(load)
    write(stat, 1100, 0)
    quiet = meter.read()
    assert quiet is not None and not quiet.busy


def test_nothing_is_said_where_the_system_does_not_tell_or_after_a_moment(tmp_path: Path) -> None:
    assert machine.LoadMeter(tmp_path / "missing").read() is None
    write(tmp_path / "stat", 1, 1)
    assert machine.LoadMeter(tmp_path / "stat").read() is None
