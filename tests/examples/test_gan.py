"""The generator finds mean and covariance, whatever points are drawn."""

import pytest

from examples import gan


@pytest.mark.parametrize("seed", [0, 7])
def test_mean_and_covariance_reach_their_targets(seed, capsys):
    assert gan.main(["--steps", "1000", "--seed", str(seed)]) < 0.15
    assert "step 1000" in capsys.readouterr().out


def test_without_training_it_is_far_off():
    mean, covariance = gan.train(0, 0)
    assert mean.tolist() == [0, 0] and covariance.tolist() == [[1, 0], [0, 1]]
