"""The case study of convolution: every way computes it, over odd sizes too, and its gradients are convolutions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlc
import mlc.numpy as mnp
from examples import convolution as example


def close(found, wanted, tolerance=1e-5):
    assert np.asarray(found).shape == wanted.shape
    np.testing.assert_allclose(np.asarray(found), wanted, atol=tolerance * max(1, np.abs(wanted).max()))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.integers(3, 13), st.integers(1, 3), st.integers(1, 3), st.data())
def test_every_way_is_the_convolution_of_numpy(images, size, channels, outputs, data):
    k = data.draw(st.sampled_from([k for k in (1, 2, 3, 5, size) if k <= size]))
    random = np.random.default_rng(size)
    x, w = random.standard_normal((images, size, size, channels)), random.standard_normal((k, k, channels, outputs))
    wanted, x, w = example.exact(x, w), mnp.asarray(x), mnp.asarray(w)
    for name, way in example.WAYS.items():
        if name == "FFT, two factors" or (name.startswith("Winograd") and k != 3):
            continue
        close(way(x, w), wanted, 1e-12)
    close(example.numpy_products(x.numpy(), w.numpy()), wanted, 1e-12)
    close(example.numpy_strides(x.numpy(), w.numpy()), wanted, 1e-12)
    for a in (a for a in range(1, size + 1) if size % a == 0):
        close(example.fft(x, w, (a, size // a)), wanted, 1e-12)


@pytest.mark.parametrize("n, a", [(1, 1), (6, 2), (12, 3), (13, 1), (32, 4)])
def test_the_transform_is_that_of_numpy(n, a):
    random = np.random.default_rng(n)
    z = random.standard_normal((3, n, 2)) + 1j * random.standard_normal((3, n, 2))
    wanted = np.fft.fft(z, axis=1)
    planes = mnp.asarray(np.stack([z.real, z.imag]))
    for factors in (None, (a, n // a)):
        found = np.asarray(example.transform(planes, "pxty", factors))
        np.testing.assert_allclose(found[0] + 1j * found[1], wanted, atol=1e-12)


@pytest.mark.parametrize("size, k", [(3, 3), (7, 1), (9, 4)])
def test_gradients_are_convolutions(size, k):
    random = np.random.default_rng(k)
    x, w = random.standard_normal((2, size, size, 3)), random.standard_normal((k, k, 3, 4))
    c = random.standard_normal((2, size - k + 1, size - k + 1, 4))
    by_x, by_w = mlc.grad(lambda x, w: (example.convolution(x, w) * c).sum(), (0, 1))(x, w)
    close(example.by_images(mnp.asarray(c), mnp.asarray(w)), np.asarray(by_x), 1e-12)
    close(example.by_window(mnp.asarray(c), mnp.asarray(x)), np.asarray(by_w), 1e-12)
    assert abs(np.asarray(by_w)[0, 0, 0, 0] - (x[:, : size - k + 1, : size - k + 1, 0] * c[..., 0]).sum()) < 1e-10


def test_the_tables_are_printed_and_every_error_is_small(capsys):
    rows = example.table(1, images=2, ways={name: example.WAYS[name] for name in ("strides", "Winograd, m = 2")})
    assert max(row.error for row in rows) < 3e-5
    assert {"seven loops", "strides", "NumPy, strides"} <= {row.name for row in rows}
    found = example.table_of_windows([31], 1, images=1)
    assert max(row.error for row in found[0]) < 1e-5
    assert "direct, ms" in capsys.readouterr().out


@pytest.mark.parametrize("windows", [["0"], ["3", "33"]])
def test_windows_larger_than_the_images_are_refused(windows, capsys):
    with pytest.raises(SystemExit):
        example.main(["--kernels", *windows])
    assert "windows have 1 to 32 rows" in capsys.readouterr().err
