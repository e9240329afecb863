"""What the graph passes make of miniature exports: transposes vanish into contractions, or stand at inputs and outputs."""

from collections import Counter
from pathlib import Path

import pytest

from mlc.frontends.onnx import load
from mlc.ir.graph.elementwise import OPS
from mlc.ir.graph.shape import TransposeOp
from mlc.ir.module import Module
from mlc.passes.manager import PassManager
from mlc.passes.pipelines import graph_passes

MODELS = Path(__file__).parent.parent / "onnx_models"
TRANSPOSES = {
    "bert": 0,
    "gpt2": 0,
    "llama": 0,
    "llama_cache": 0,
    "gpt2_cache": 4,  # new keys and values of two layers, which are outputs
    "lstm": 0,
    "resnet18": 1,  # the image
    "resnet50": 1,
    "mobilenet_v2": 1,
    "convnext_tiny": 1,
    "unet": 1,
    "vit_small": 1,
    "whisper_encoder": 1,
}


def optimised(name: str) -> Module:
    return PassManager(graph_passes(2), verify_each=True).run(load(MODELS / f"{name}.onnx"))


@pytest.mark.parametrize("exporter", ["legacy", "dynamo"])
@pytest.mark.parametrize("name", TRANSPOSES)
def test_few_transposes_are_left(name, exporter):
    """Of sums of attention, a number a query, its kernel reads the transpose in place."""
    module = optimised(f"{name}.symbolic.{exporter}")
    left = [
        op for op in module.op.walk() if isinstance(op, TransposeOp) and not isinstance(op.x.owner, OPS["reciprocal"])
    ]
    assert len(left) <= TRANSPOSES[name]


def test_both_exporters_of_one_model_meet():
    counts = [
        Counter(op.name for op in optimised(f"bert.symbolic.{exporter}").op.walk()) for exporter in ("legacy", "dynamo")
    ]
    for name in ("graph.contract", "graph.reduce", "graph.exp", "graph.erf", "graph.transpose"):
        assert counts[0][name] == counts[1][name], name
