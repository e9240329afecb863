"""The convolution network learns."""

import pytest

pytest.importorskip("sklearn", reason="the digits are scikit-learn's, of the extra 'bench'")


def test_it_is_nearly_as_good_after_four_epochs(capsys: pytest.CaptureFixture[str]) -> None:
    from examples import cnn_digits

    assert cnn_digits.main(["--epochs", "4"]) >= 0.96
    assert "after 92 steps" in capsys.readouterr().out
