"""The case study of layouts: the same numbers in every layout, and no transposes between convolutions."""

import numpy as np

import mlc
import mlc.numpy as mnp
from examples import layouts as example


def test_images_give_the_same_in_every_layout(monkeypatch):
    monkeypatch.setattr(example, "CHANNELS", 5)
    monkeypatch.setattr(example, "PIXELS", 7)
    (first, x), (last, turned) = (example.images(example.block, order) for order in (False, True))
    plain = mlc.jit(first, disable_passes=example.NCHW)(x).numpy()
    np.testing.assert_allclose(mlc.jit(first)(x).numpy(), plain, atol=2e-5)
    np.testing.assert_allclose(mlc.jit(last)(turned).numpy().transpose(0, 3, 1, 2), plain, atol=2e-5)


def test_an_lstm_gives_the_same_with_either_axis_first(monkeypatch):
    for name in ("STEPS", "BATCH", "SIZE", "HIDDEN"):
        monkeypatch.setattr(example, name, len(name))
    (time, x), (batch, turned) = example.lstm(False), example.lstm(True)
    np.testing.assert_allclose(batch(mnp.asarray(turned)), time(mnp.asarray(x)).transpose(1, 0, 2), atol=1e-6)


def test_layout_selection_leaves_transposes_at_the_ends_alone():
    assert [line.split()[2] for line in example.chosen(False).splitlines()] == [
        "graph.transpose", "graph.convolution", "graph.convolution", "graph.transpose",
    ]  # fmt: skip
    assert "graph.transpose" not in example.chosen(True)


def test_the_table_is_printed(monkeypatch, capsys):
    some = example.layouts()[4:6]
    monkeypatch.setattr(example, "layouts", lambda: some)
    rows = example.table(1)
    assert [len(row.copies) for row in rows] == [1, 0]
    assert "kernels" in capsys.readouterr().out
