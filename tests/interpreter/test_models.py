"""Whole models after outlining and after lowering: the interpreter of kernels agrees with the interpreter of graphs, and no tiles race."""

from pathlib import Path

import numpy as np
import pytest

from mlc.compiler import load
from mlc.ir import interpreter
from mlc.ir.kernel.interpreter import run_program
from mlc.ir.sample_sizes import sample_binding
from mlc.ir.samples import random_inputs
from mlc.passes.manager import PassManager
from mlc.passes.pipelines import pipeline

MODELS = Path(__file__).parent.parent / "onnx_models"
SIZES = {"N": 2, "S": 3, "P": 4, "H": 5, "W": 7}


@pytest.mark.parametrize("arch", ["x86-64-v3", "x86-64-v4"])
@pytest.mark.parametrize(
    "name", ["bert.symbolic.legacy", "gpt2_cache.symbolic.dynamo", "lstm.symbolic.legacy", "resnet18.symbolic.dynamo"]
)
def test_kernels_of_a_model_compute_what_its_graph_does(name, arch):
    module = load(MODELS / f"{name}.onnx")
    binding = {symbol: SIZES.get(symbol, size) for symbol, size in sample_binding(module).items()}
    arrays = random_inputs(module, binding)
    want = interpreter.run(module, arrays)
    seen = []

    def after(number, done, changed):
        if done.name in ("outline", "plan-arena"):
            found = run_program(changed, arrays, races=done.name == "plan-arena")
            for have, reference in zip(found, want, strict=True):
                assert have.dtype == reference.dtype
                assert np.allclose(have, reference, rtol=1e-4, atol=1e-4), done.name
            seen.append(done.name)

    PassManager(pipeline(2, arch), callback=after).run(module)
    assert seen == ["outline", "plan-arena"]
