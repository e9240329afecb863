"""What a run tells: bars and pictures where their packages are there, and plain words where they are not."""

import sys
from types import SimpleNamespace

import pytest

from mlc.data import Monitor
from mlc.errors import MlcError, TargetUnavailable


class Bar:
    """What is used of tqdm's."""

    def __init__(self, total, unit, leave):
        self.total, self.steps, self.texts, self.lines, self.closed = total, 0, [], [], False
        Bar.last = self

    def set_postfix_str(self, text, refresh):
        self.texts.append(text)

    def update(self):
        self.steps += 1

    def write(self, line):
        self.lines.append(line)

    def close(self):
        self.closed = True


@pytest.fixture
def bars(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", SimpleNamespace(tqdm=Bar))


def test_the_bar_shows_the_recent_loss_and_the_throughput(bars):
    with Monitor(3, unit="characters", bar=True) as monitor:
        for loss in (4.0, 2.0, 3.0):
            monitor.update(loss, 10)
        monitor.say("half of it")
    bar = Bar.last
    assert (bar.total, bar.steps, bar.lines, bar.closed) == (3, 3, ["half of it"], True)
    assert [text.split(",")[0] for text in bar.texts] == ["loss 4.0000", "loss 3.0000", "loss 3.0000"]
    assert bar.texts[-1].endswith(" characters/s") and monitor.rate > 0
    assert monitor.losses == [4, 2, 3] and monitor.counts == [10, 10, 10]


def test_without_a_terminal_lines_are_printed_alone(bars, capsys):
    Bar.last = None
    with Monitor(2) as monitor:
        monitor.update(1.0)
        monitor.say("a line")
    assert Bar.last is None and capsys.readouterr().out == "a line\n"


def test_a_missing_tqdm_is_said_and_is_an_error_where_a_bar_is_asked_for(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(TargetUnavailable, match="a progress bar needs tqdm, which is not installed") as error:
        Monitor(2, bar=True)
    assert error.value.remedy == "pip install tqdm"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    Monitor(2).update(1.0)
    assert "there is no progress bar without tqdm: pip install tqdm\n" in capsys.readouterr().err


def test_a_missing_matplotlib_is_an_error_before_the_run(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(TargetUnavailable, match="a picture of the losses needs matplotlib"):
        Monitor(2, plot=tmp_path / "loss.png")
    Monitor(2).update(1.0)


@pytest.mark.parametrize(
    "name, said", [("loss.xyz", "cannot be 'loss.xyz'"), ("loss", "cannot be"), ("nowhere/loss.png", "no folder")]
)
def test_files_that_could_not_be_written_are_refused_before_the_run(name, said, tmp_path):
    pytest.importorskip("matplotlib", reason="the picture is matplotlib's, of the extra 'examples'")
    with pytest.raises(MlcError, match=said):
        Monitor(2, plot=tmp_path / name)


def test_the_picture_is_written_at_the_end_of_a_run_that_does_not_fail(tmp_path):
    pytest.importorskip("matplotlib", reason="the picture is matplotlib's, of the extra 'examples'")
    path = tmp_path / "loss.svg"
    with pytest.raises(ValueError), Monitor(2, plot=path) as monitor:
        monitor.update(1.0)
        raise ValueError
    assert not path.exists()
    with Monitor(2, plot=path) as monitor:
        monitor.update(1.0)
        monitor.update(0.5)
    assert "<svg" in path.read_text()
    with pytest.raises(MlcError, match="there are no losses to draw"):
        Monitor(2).draw(path)
