"""What commands tell of work that takes long."""

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
from xdsl.ir import Operation

import mlc as mlc_package
from mlc.cli import console as consoles
from mlc.cli.console import Console
from mlc.cli.tables import CUT, table
from mlc.ir import work
from mlc.progress import Event, stage


def test_every_stage_names_what_it_is_at(small: Path) -> None:
    events: list[Event] = []
    mlc_package.compile(small, progress=events.append, cache=False)
    named = {
        name: [e for e in events if e.stage == name and e.text and not e.finished]
        for name in ("import", "optimise", "codegen", "link")
    }
    assert "product" in {e.text for e in named["import"]}
    assert {"decompose", "schedule", "plan-arena"} <= {e.text for e in named["optimise"]}
    kernels = {e.text.removeprefix("lower: ") for e in named["optimise"] if e.text.startswith("lower: ")}
    assert kernels and kernels <= {e.text for e in named["codegen"]}
    assert all(e.done < e.total for e in named["link"]) and len(named["link"]) >= 2
    assert next((e.text, e.total) for e in events if e.stage == "import") == ("", 0)


def test_parts_are_told_behind_the_name_and_with_the_count_of_what_they_are_part_of() -> None:
    told: list[tuple[str, int, int]] = []
    with work.watched(lambda *event: told.append(event)):
        with work.within("lower", 2, 9):
            work.at("gemm_0", 1, 4)
        work.at("next")
    work.at("nobody watches")
    assert told == [("lower", 2, 9), ("lower: gemm_0", 2, 9), ("next", 0, 0)]


def test_a_stage_that_takes_long_says_what_it_is_at(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(consoles, "LONG", 0.02)
    console = Console()
    said = ""
    with stage("optimise", console.progress), work.within("fold", 6, 19):
        work.at("big")
        while said.count("is at") < 2:  # again after twice as long
            time.sleep(0.01)
            said += capsys.readouterr().err
        assert "optimise   is at fold: big, 6 of 19 done; --disable-pass fold leaves it out" in said
    with stage("codegen", console.progress):
        work.at("gemm_3", 1, 2)
        while "codegen" not in said:
            time.sleep(0.01)
            said += capsys.readouterr().err
        assert "codegen    is at gemm_3, 1 of 2 done\n" in said
    console.stop()
    assert console._clock is None


def test_a_pass_that_takes_long_names_the_op_that_it_is_at(small: Path) -> None:
    """Asked at any time: here whenever an op is put down, which is when a slow one would begin."""
    places: dict[str, set[str]] = {}
    latest: list[Event] = []

    class Asked(work.Part):
        @property
        def op(self) -> Operation | None:
            return self.kept

        @op.setter
        def op(self, op: Operation | None) -> None:
            self.kept = op
            if op is not None and latest and latest[-1].stage == "optimise":
                event = replace(latest[-1], part=self)
                places.setdefault(event.text, set()).add(event.place())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlc.progress.Part", Asked)
        mlc_package.compile(small, progress=latest.append, cache=False)
    for name in ("simplify", "fold", "fuse", "cse"):
        assert f"{name}: product" in places[name]
    assert all(place.startswith(name) for name, found in places.items() for place in found)
    assert latest[-1].place() == latest[-1].text


def test_quiet_commands_tell_nothing(monkeypatch: pytest.MonkeyPatch, mlc: Callable, small: Path) -> None:
    monkeypatch.setattr(consoles, "LONG", 0.0)
    assert mlc("compile", small, "-q").err == ""


def test_writing_is_a_stage(mlc: Callable, small: Path) -> None:
    err = mlc("compile", small, "-o", "a.mlc").err
    assert next(line for line in err.splitlines() if line.startswith("write")).split()[1:3] == ["a", "package"]


class Bar:
    """In the place of tqdm's."""

    made: ClassVar[list["Bar"]] = []

    def __init__(self, **given: object) -> None:
        self.given, self.seen, self.closed = given, [], False
        Bar.made.append(self)

    def set_postfix_str(self, text: str, refresh: bool) -> None:
        self.text = text

    def refresh(self) -> None:
        self.seen.append((self.n, self.total, self.text))  # type: ignore[attr-defined]

    def close(self) -> None:
        self.closed = True


def be_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Called by the test itself: pytest gives it a standard error of its own."""
    monkeypatch.setitem(sys.modules, "tqdm", SimpleNamespace(tqdm=Bar))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(consoles, "REDRAWN", 0.0)
    Bar.made.clear()


def test_a_terminal_has_a_bar_that_is_gone_before_anything_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    be_a_terminal(monkeypatch)
    console = Console()
    with stage("optimise", console.progress) as step:
        step.at("fold", 3, 9)
        step.at("fuse", 4, 10)
        (bar,) = Bar.made
        assert bar.given["desc"] == "optimise  " and bar.given["leave"] is False and bar.given["file"] is sys.stderr
        assert bar.seen == [(3, 9, "fold"), (4, 10, "fuse")] and not bar.closed
        console.note("a word")
        assert bar.closed
        step.at("dce", 5, 10)
        assert len(Bar.made) == 2
        step.text = "done"
    assert all(bar.closed for bar in Bar.made)
    assert [line.split()[:2] for line in capsys.readouterr().err.splitlines()] == [["a", "word"], ["optimise", "done"]]


def test_nothing_of_a_bar_is_loaded_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)  # an import of it fails
    made = []
    monkeypatch.setattr(consoles, "_bar", made.append)
    with stage("optimise", Console().progress) as step:
        step.at("fold", 3, 9)
    assert made == []


def test_a_terminal_without_tqdm_gets_lines_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    be_a_terminal(monkeypatch)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with stage("optimise", Console().progress) as step:
        step.at("fold", 3, 9)
        step.text = "done"
    assert capsys.readouterr().err.split()[:2] == ["optimise", "done"]


@pytest.mark.parametrize("columns", [None, 60, 200])
def test_numbers_of_a_table_stand_at_the_right(monkeypatch: pytest.MonkeyPatch, columns: int | None) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: columns is not None, raising=False)
    monkeypatch.setenv("COLUMNS", str(columns))
    rows = [("a_long_name", "1.5", "node " * 30), ("b", "1,234.0", "")]
    head, first, second = table(("name", ">ms", "nodes"), rows)
    assert head.index("ms") + 2 == first.index("1.5") + 3 == second.index("1,234.0") + 7
    assert len(first) <= (columns or 11 + 2 + 7 + 2 + CUT) and first.endswith("...") == (columns != 200)
    assert table(("name", ">ms"), []) == ["name  ms"]
