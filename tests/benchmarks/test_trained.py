"""The list of trained models: inputs, and what happens where a package is absent."""

import numpy as np
import pytest

from benchmarks import trained
from benchmarks.trained import MODELS, Trained, largest_error


def test_names_are_unique_and_inputs_are_drawn_the_same_each_time() -> None:
    assert len({model.name for model in MODELS}) == len(MODELS)
    for model in MODELS:
        first, second = model.feeds(), model.feeds()
        for name, draw in model.inputs.items():
            assert (first[name].shape, str(first[name].dtype)) == (draw.shape, draw.dtype)
            np.testing.assert_array_equal(first[name], second[name])


def test_a_model_whose_package_is_absent_is_skipped_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = Trained("no-such-package-of-models", "models/some/net.onnx", {})
    monkeypatch.setattr(trained, "MODELS", [absent])
    monkeypatch.setattr("sys.argv", ["trained", "--check"])
    assert trained.main() == 0
    assert "skipped  no-such-package-of-models/some/net" in capsys.readouterr().out


def test_the_error_is_relative_and_infinite_where_results_do_not_compare() -> None:
    y = np.array([1.0, -4.0], np.float32)
    assert largest_error([y + np.float32(0.5)], [y]) == pytest.approx(0.125)
    assert largest_error([y[None]], [y]) == float("inf")
    assert largest_error([y * np.float32(np.nan)], [y]) == float("inf")
