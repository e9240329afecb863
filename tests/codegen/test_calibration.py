"""What a core was measured to do: figures that can be, kept once, never measured again by themselves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mlc.codegen.llvm import calibration
from mlc.ir.kernel.cpu_target import cpu_target
from mlc.ir.kernel.machine_rates import MachineRates

# A Zen 5 with 512-bit units, and a Xeon of the Sapphire Rapids kind, whose L3 is slow.
ZEN5 = MachineRates(4.2, 2, 2, 230, 110, 41, 42, 97, 24, 120, 280, 13_000)
XEON = MachineRates(3.5, 2, 2, 185, 30, 14, 9.5, 22, 8.8, 110, 300, 33_000)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("MLC_CACHE_DIR", str(tmp_path))
    return tmp_path


def test_figures_are_those_of_a_core():
    found = calibration.measure()
    assert 0.3 < found.clock < 10
    assert 0.1 < found.fma <= 4 and 0.1 < found.load <= 4
    assert found.l2 > 1 and found.l3 > 1
    assert (found.memory is None) == (cpu_target().arch != "x86_64")
    for cost in (found.memory, found.store, found.stream, found.pause, found.syscall, found.fork, found.wake):
        assert cost is None or cost > 0
    assert "GHz" in str(found) and "L3" in str(found)


def test_a_machine_is_measured_once(folder, monkeypatch):
    measured = iter([ZEN5, XEON])
    monkeypatch.setattr(calibration, "measure", lambda: next(measured))
    assert calibration.known() is None
    assert calibration.rates() == calibration.rates() == calibration.known() == ZEN5
    assert calibration.rates(again=True) == calibration.known() == XEON


def test_what_a_busy_machine_says_is_not_kept(folder, monkeypatch):
    busy = replace(ZEN5, fork=1e5)
    measured = iter([busy, ZEN5])
    monkeypatch.setattr(calibration, "measure", lambda: next(measured))
    assert calibration.rates() == busy and calibration.known() is None
    assert calibration.rates() == ZEN5 == calibration.known()


@pytest.mark.parametrize("content", ["", "{", "[]", json.dumps({**ZEN5.facts(), "l2": None}), json.dumps({"l2": 1.0})])
def test_a_damaged_file_is_measured_anew(folder, monkeypatch, content):
    monkeypatch.setattr(calibration, "measure", lambda: ZEN5)
    calibration.rates()
    (path,) = folder.rglob("*.json")
    path.write_text(content)
    assert calibration.known() is None
    assert calibration.rates() == calibration.known() == ZEN5


def test_nothing_is_kept_where_nothing_can_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MLC_CACHE_DIR", str(tmp_path / "file"))
    monkeypatch.setattr(calibration, "measure", lambda: ZEN5)
    assert calibration.rates() == ZEN5 and calibration.known() is None


def test_machines_that_differ_have_files_of_their_own(folder):
    one = cpu_target("x86-64-v3")
    assert len({calibration._path(t) for t in (one, replace(one, l2=1 << 21), cpu_target("x86-64-v4"))}) == 3
    assert calibration._path(one) == calibration._path(replace(one))
