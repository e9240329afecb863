"""Inputs of the exported models at any binding."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from benchmarks.model_inputs import Input, Signature, extent, linear_term, read, write
from tests.onnx_models import PATHS, bindings, signature

SIGNATURE = Signature(
    inputs=(
        Input("ids", ("N", "S"), "ids", 7),
        Input("mask", ("N", "P+1"), "mask"),
        Input("image", ("N", 3, "4*h")),
    ),
    sizes={"N": 2, "S": 5, "P": 3, "h": 2},
    low={"P": 0},
    high={"S": 6},
    fixed_in_dynamo=("h",),
)


@pytest.mark.parametrize(("dim", "value"), [(3, 3), ("N", 2), ("4*h", 8), ("P+1", 4), ("2*h+3", 7)])
def test_a_dimension_is_a_number_or_a_term_of_a_symbol(dim: int | str, value: int) -> None:
    assert extent(dim, SIGNATURE.sizes) == value


def test_a_dimension_of_another_form_is_refused() -> None:
    with pytest.raises(ValueError, match="factor"):
        linear_term("N*S")


def test_feeds_have_the_sizes_of_the_binding_and_values_of_their_kind() -> None:
    feeds = SIGNATURE.feeds({"N": 4, "P": 0}, seed=1)
    assert {name: array.shape for name, array in feeds.items()} == {"ids": (4, 5), "mask": (4, 1), "image": (4, 3, 8)}
    assert feeds["ids"].max() < 7
    assert (feeds["mask"][:, 0] == 1).all()
    np.testing.assert_array_equal(feeds["image"], SIGNATURE.feeds({"N": 4, "P": 0}, seed=1)["image"])


def test_random_sizes_stay_in_bounds_and_keep_what_an_exporter_fixes() -> None:
    rng = np.random.default_rng(0)
    drawn = [SIGNATURE.random_sizes("dynamo", rng) for _ in range(200)]
    assert {sizes["h"] for sizes in drawn} == {2}
    assert {sizes["S"] for sizes in drawn} == {1, 2, 3, 4, 5, 6}
    assert min(sizes["P"] for sizes in drawn) == 0
    assert len({SIGNATURE.random_sizes("legacy", rng)["h"] for _ in range(50)}) > 1


def test_signatures_come_back_from_their_file(tmp_path: Path) -> None:
    write(tmp_path, {"a": SIGNATURE})
    write(tmp_path, {"b": SIGNATURE})
    assert read(tmp_path) == {"a": SIGNATURE, "b": SIGNATURE}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_miniature_takes_every_binding_of_its_signature(path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # declared sizes of inner values are wrong in some exports: onnxruntime warns
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options)
    assert [item.name for item in session.get_inputs()] == [item.name for item in signature(path).inputs]
    for sizes in bindings(path, count=3):
        for output in session.run(None, signature(path).feeds(sizes)):
            assert np.isfinite(output).all()
