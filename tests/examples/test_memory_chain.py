"""The case study of memory: how many activations are alive, that checkpoints change no number, and that a process grows by what is planned."""

import numpy as np
import pytest

import mlc
from examples import memory_chain as example

ROWS = 256


def activations(kind, layers):
    return example.memory(kind, layers, ROWS).activations / (4 * ROWS * example.COLUMNS)


def test_inference_keeps_two_training_all_and_checkpoints_two_roots():
    assert activations("inference", 9) == 2
    assert activations("training", 4) == 4 + 2 and activations("training", 9) == 9 + 2
    assert activations("checkpoints", 9) <= 2 * 3 + 1


def test_checkpoints_cost_one_more_forward_pass_and_no_bit():
    plain, again = example.memory("training", 9, ROWS), example.memory("checkpoints", 9, ROWS)
    assert again.work - plain.work == pytest.approx(1, abs=0.05)
    random = np.random.default_rng(0)
    weights = [random.standard_normal((5, 5)).astype(np.float32) for _ in range(4)]
    x = random.standard_normal((7, 5)).astype(np.float32)
    found = [
        mlc.jit(mlc.grad(lambda w, model=model: example.loss(model(w, x))))(weights)
        for model in (example.chain, example.checkpointed)
    ]
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))


def test_a_fresh_process_grows_by_what_is_planned(capsys):
    (inference, training, checkpoints) = example.table([4])
    for found in (inference, training, checkpoints):
        assert found.measured == pytest.approx(found.planned, rel=0.1, abs=1 << 19)
    assert training.optimizer == 2 * training.weights + 8 and inference.optimizer == 0
    assert "activations" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--layers", "0"], ["--rows", "100"]])
def test_sizes_that_cannot_be_told_apart_are_refused(arguments, capsys):
    with pytest.raises(SystemExit):
        example.main(arguments)
    assert "128 rows" in capsys.readouterr().err
