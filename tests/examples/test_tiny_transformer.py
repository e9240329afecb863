"""The small Transformer: it learns, and writes the same with the cache of keys and values as without."""

import numpy as np

from examples import tiny_transformer as example
from mlc import nn


def test_it_learns_more_than_which_characters_are_frequent(capsys, monkeypatch):
    monkeypatch.setattr(example, "BLOCKS", 1)
    monkeypatch.setattr(example, "ROWS", 16)
    codes = np.unique(list(example.documentation()), return_inverse=True)[1]
    frequencies = np.bincount(codes) / len(codes)
    unigram = -(frequencies * np.log(frequencies)).sum()
    assert example.main(["--steps", "60"]) < unigram - 0.3
    assert "The method " in capsys.readouterr().out


def test_with_caches_the_logits_are_those_of_the_whole_text():
    nn.seed(3)
    net = example.Transformer(11)
    x = np.array([[3, 1, 4, 1, 5, 9, 2, 6]])
    whole = net(x)
    caches = [block.self_attn.empty_cache(batch=1, capacity=8) for block in net.blocks]
    for n in range(8):
        logits, caches = net(x[:, n : n + 1], caches)
        np.testing.assert_allclose(logits[:, 0], whole[:, n], atol=1e-5)
