"""The perceptron learns, and goes on from its checkpoint."""

import sys
from pathlib import Path

import pytest

pytest.importorskip("sklearn", reason="the digits are scikit-learn's, of the extra 'bench'")


def test_it_reaches_the_stated_accuracy_in_two_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from examples import mlp_digits

    arguments = ["mlp_digits.py", "--epochs", "8", "--checkpoint", str(tmp_path / "digits.safetensors")]
    monkeypatch.setattr(sys, "argv", arguments)
    first, second = mlp_digits.main(), mlp_digits.main()
    assert second >= 0.96 and first > 0.9
    assert "after 368 steps" in capsys.readouterr().out
