"""Miniatures of real exports through the importer and the interpreter, at several bindings, against onnxruntime."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from mlc.frontends.onnx import load
from mlc.frontends.onnx.importer import Importer
from mlc.ir import interpreter
from tests.onnx_models import PATHS, bindings, signature

NAMES = [path.name.removesuffix(".onnx") for path in PATHS]


def feeds_of(path: Path, sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
    return signature(path).feeds(sizes)


@pytest.mark.parametrize("path", PATHS, ids=NAMES)
def test_a_real_export_computes_what_onnxruntime_computes(path: Path) -> None:
    module = load(path)
    module.verify()
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for sizes in bindings(path, count=3):
        feeds = feeds_of(path, sizes)
        found = interpreter.run(module, [feeds[name] for name in module.input_names])
        expected = session.run(module.output_names, feeds)
        for x, y in zip(found, expected, strict=True):
            assert (x.dtype, x.shape) == (y.dtype, y.shape)
            np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-5 * max(1.0, float(np.abs(y).max(initial=0))))


@pytest.mark.parametrize("path", PATHS, ids=NAMES)
def test_sizes_of_a_real_export_unify_without_a_check_left(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one import says of its sizes is solved and written into its module: the text is that of an import that is told all of it.
    Twice only where a size turns out to be a number, for which handlers build other ops."""
    imports = []
    run = Importer.run
    monkeypatch.setattr(Importer, "run", lambda self: imports.append(self) or run(self))
    module = load(path)
    assert len(imports) == (2 if path.name == "llama_cache.symbolic.legacy.onnx" else 1)
    assert module.checks == []
    used = {s for shape, _ in module.input_types for e in shape if not isinstance(e, int) for s in e.symbols()}
    assert used == set(module.symbols)
    if any(module.input_types[n][0] != i.shape for n, i in enumerate(imports[0].signature.inputs)) or any(
        module.symbols[s] != (0, None) for s in used
    ):
        shapes = {name: shape for name, (shape, _) in zip(module.input_names, module.input_types, strict=True)}
        assert str(load(path, shapes=shapes, dims=module.symbols)) == str(module)


def test_both_exporters_give_the_same_shapes() -> None:
    """What the exporters call a size differs; that outputs are made of the inputs' sizes in the same way does not."""
    for dynamo in (path for path in PATHS if "dynamo" in path.name and "unet" not in path.name):
        legacy = dynamo.with_name(dynamo.name.replace("dynamo", "legacy"))
        sizes = bindings(dynamo, count=1)[0]
        feeds = feeds_of(dynamo, sizes)
        shapes = []
        for path in (dynamo, legacy):
            module = load(path)
            found = interpreter.run(module, [feeds[name] for name in module.input_names])
            shapes.append([x.shape for x in found])
        assert shapes[0] == shapes[1], dynamo.name


def test_a_table_that_is_sliced_and_a_position_that_is_read_bound_the_sequence() -> None:
    (path,) = (p for p in PATHS if p.name == "bert.symbolic.dynamo.onnx")
    assert load(path).symbols["S"] == (1, 64)


def test_sizes_can_be_fixed_and_bounded() -> None:
    (path,) = (p for p in PATHS if p.name == "bert.symbolic.legacy.onnx")
    fixed = load(path, dims={"N": 2, "S": (1, 16)})
    assert fixed.symbols == {"S": (1, 16)}
    assert fixed.input_types[0][0][0] == 2
    static = load(path, shapes={fixed.input_names[0]: (2, 8)})
    assert static.symbols == {}
    assert {shape for shape, _ in static.input_types} == {(2, 8)}
