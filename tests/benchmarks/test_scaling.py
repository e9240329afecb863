"""The graphs that compiling is measured on compute what they are said to."""

import numpy as np
import pytest

import mlc
from benchmarks.scaling import BATCH, PROGRAMS, RATE, WIDTH, measure, table, training

RNG = np.random.default_rng(0)


def test_a_training_step_takes_the_gradient_off_the_parameters() -> None:
    layers = 3
    x, target = (RNG.standard_normal((BATCH, WIDTH)).astype(np.float32) for _ in range(2))
    weights = [(RNG.standard_normal((WIDTH, WIDTH)) / 8).astype(np.float32) for _ in range(layers)]
    biases = [RNG.standard_normal(WIDTH).astype(np.float32) for _ in range(layers)]

    def loss(parameters: list[np.ndarray]) -> float:
        y = x.astype(np.float64)
        for weight, bias in zip(parameters[:layers], parameters[layers:], strict=True):
            y = np.maximum(y @ weight + bias, 0)
        return float(0.5 * np.sum((y - target) ** 2))

    exe = mlc.compile(training(15 * layers), cache=False)
    names = [spec.name for spec in exe.plan.outputs]
    found = dict(zip(names, exe(x, target, *weights, *biases), strict=True))
    before = [p.astype(np.float64) for p in (*weights, *biases)]
    for n, name in enumerate([f"next.w{n}" for n in range(layers)] + [f"next.b{n}" for n in range(layers)]):
        direction = RNG.standard_normal(before[n].shape)
        step = 1e-6 * direction
        more, less = (loss([p + s * step if k == n else p for k, p in enumerate(before)]) for s in (1, -1))
        slope = np.sum((before[n] - found[name]) / RATE * direction)
        np.testing.assert_allclose(slope, (more - less) / 2e-6, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_is_measured(program: str) -> None:
    small, large = (measure(program, size) for size in (40, 80))
    assert large["ops"] > small["ops"] and large["kernels"] <= small["kernels"] + 80
    text = table([small, large])
    assert all(f"| {row} |" in text for row in ("fuse", "outline", "codegen", "link", "mlc.compile"))
    assert f"| {'build' if program == 'training' else 'import'} |" in text
