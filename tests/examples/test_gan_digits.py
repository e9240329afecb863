"""The generator draws the digit that it is asked for, by the judgement of a network that has not trained with it."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the digits are scikit-learn's, of the extra 'bench'")


def test_most_digits_are_recognised_after_a_short_run(capsys: pytest.CaptureFixture[str]) -> None:
    from examples import gan_digits as example
    from mlc import nn

    found, spread = example.main(["--steps", "400"])
    assert found > 0.7 and spread > 0.02
    said = capsys.readouterr().out
    assert "step  400" in said and "@@" in said

    nn.seed(0)
    digits = np.arange(200) % 10
    untrained = example.draw(example.Generator().eval(), digits)
    assert untrained.shape == (200, 1, 8, 8) and example.recognised(untrained, digits) < 0.3


def test_pictures_are_rows_of_shades() -> None:
    from examples import gan_digits as example

    images = np.stack([np.zeros((1, 8, 8)), np.ones((1, 8, 8))])
    assert example.picture(images).splitlines() == [" " * 19 + "@@" * 8] * 8


def test_a_run_without_steps_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    from examples import gan_digits as example

    with pytest.raises(SystemExit):
        example.main(["--steps", "0"])
    assert "a step at least" in capsys.readouterr().err
