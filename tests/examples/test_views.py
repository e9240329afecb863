"""The case study of views: kernels read by NumPy's strides, results are those of the views, and copies are named."""

import numpy as np
import pytest

import mlc
from examples import views as example


@pytest.mark.parametrize("view", example.views(), ids=lambda view: view.name)
def test_kernels_read_by_the_strides_of_numpy(view):
    assert example.read_by(view) == view.offset_and_strides
    assert np.shares_memory(view.of_numpy, example.X)


@pytest.mark.parametrize("view", example.views(), ids=lambda view: view.name)
def test_readers_see_what_numpy_sees(view):
    w = np.random.default_rng(0).standard_normal(view.of_numpy.shape).astype(np.float32)
    found = mlc.jit(view.reader)(example.X, w).numpy()
    wanted = view.of_numpy.mean((2, 3))[None, None] if view.name.startswith("windows") else view.of_numpy + w
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_copies_are_named(capsys):
    example.table_of_views()
    example.table_of_copies()
    said = capsys.readouterr().out
    assert "(12, 2, 6, 1)" in said
    assert "    'x' by strides (1, 6) -> output 'result'\n" in said and "    nothing is copied\n" in said
