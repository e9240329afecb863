"""The same state dict in PyTorch and here gives the same outputs, gradients and running statistics; first values have the same distributions."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mlc
from mlc import nn
from tests.nn.calls import random

torch = pytest.importorskip("torch")

IDS = np.random.default_rng(0).integers(0, 7, (3, 4))
IMAGES, SERIES, ROWS = random((2, 4, 7, 6)), random((3, 4, 9)), random((5, 4))

# name: (theirs, ours, inputs)
LAYERS: dict[str, tuple[Callable[[Any], Any], Callable[[], nn.Module], tuple[np.ndarray, ...]]] = {
    "linear": (lambda t: t.Linear(4, 3), lambda: nn.Linear(4, 3), (ROWS,)),
    "linear without bias": (lambda t: t.Linear(4, 3, bias=False), lambda: nn.Linear(4, 3, bias=False), (ROWS,)),
    "embedding": (lambda t: t.Embedding(7, 5), lambda: nn.Embedding(7, 5), (IDS,)),
    "conv1d": (lambda t: t.Conv1d(4, 6, 3, 2, 1, 2, 2), lambda: nn.Conv1d(4, 6, 3, 2, 1, 2, 2), (SERIES,)),
    "conv1d same": (lambda t: t.Conv1d(4, 6, 4, padding="same"), lambda: nn.Conv1d(4, 6, 4, padding="same"), (SERIES,)),
    "conv2d": (
        lambda t: t.Conv2d(4, 6, (3, 2), (2, 1), (1, 0), groups=2),
        lambda: nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 0), groups=2),
        (IMAGES,),
    ),
    "conv transpose": (
        lambda t: t.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2, dilation=2),
        lambda: nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2, dilation=2),
        (IMAGES,),
    ),
    "max pool": (lambda t: t.MaxPool2d(3, 2, 1, 2), lambda: nn.MaxPool2d(3, 2, 1, 2), (IMAGES,)),
    "average pool": (lambda t: t.AvgPool2d(3, 2, 1), lambda: nn.AvgPool2d(3, 2, 1), (IMAGES,)),
    "average pool without padding": (
        lambda t: t.AvgPool1d(3, 2, 1, count_include_pad=False),
        lambda: nn.AvgPool1d(3, 2, 1, count_padding=False),
        (SERIES,),
    ),
    "batch norm": (lambda t: t.BatchNorm2d(4), lambda: nn.BatchNorm2d(4), (IMAGES,)),
    "batch norm of series": (
        lambda t: t.BatchNorm1d(4, momentum=None),
        lambda: nn.BatchNorm1d(4, momentum=None),
        (SERIES,),
    ),
    "layer norm": (lambda t: t.LayerNorm((7, 6)), lambda: nn.LayerNorm((7, 6)), (IMAGES,)),
    "group norm": (lambda t: t.GroupNorm(2, 4), lambda: nn.GroupNorm(2, 4), (IMAGES,)),
    "rms norm": (lambda t: t.RMSNorm(9, eps=1e-6), lambda: nn.RMSNorm(9), (SERIES,)),
    "gelu": (lambda t: t.GELU(), nn.GELU, (ROWS,)),
    "gelu by tanh": (lambda t: t.GELU("tanh"), lambda: nn.GELU("tanh"), (ROWS,)),
    "silu": (lambda t: t.SiLU(), nn.SiLU, (ROWS,)),
    "rnn": (lambda t: t.RNN(9, 3, 2), lambda: nn.RNN(9, 3, 2), (SERIES,)),
    "lstm": (
        lambda t: t.LSTM(9, 3, 2, batch_first=True, bidirectional=True),
        lambda: nn.LSTM(9, 3, 2, batch_first=True, bidirectional=True),
        (SERIES,),
    ),
    "gru": (lambda t: t.GRU(9, 3, bidirectional=True), lambda: nn.GRU(9, 3, bidirectional=True), (SERIES,)),
    "attention": (
        lambda t: t.MultiheadAttention(4, 2, batch_first=True),
        lambda: nn.MultiHeadAttention(4, 2),
        (random((2, 3, 4)), random((2, 5, 4), 1), random((2, 5, 4), 2)),
    ),
    "encoder": (
        lambda t: t.TransformerEncoderLayer(4, 2, 6, dropout=0, batch_first=True),
        lambda: nn.TransformerEncoderBlock(4, 2, 6),
        (random((2, 3, 4)),),
    ),
    "decoder": (
        lambda t: t.TransformerDecoderLayer(4, 2, 6, dropout=0, batch_first=True, norm_first=True, activation="gelu"),
        lambda: nn.TransformerDecoderBlock(4, 2, 6, norm_first=True, activation=nn.functional.gelu),
        (random((2, 3, 4)), random((2, 5, 4), 1)),
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_agree_in_results_gradients_and_state(name: str) -> None:
    make, ours, inputs = LAYERS[name]
    torch.manual_seed(0)
    theirs, module = make(torch.nn).double(), ours().astype("f64")
    module.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
    assert list(module.state_dict()) == list(theirs.state_dict())
    given = [torch.tensor(x, requires_grad=x.dtype == np.float64) for x in inputs]
    options = (
        {"tgt_is_causal": True, "tgt_mask": torch.triu(torch.full((3, 3), -torch.inf).double(), 1)}
        if name == "decoder"
        else {}
    )
    expected = theirs(*given, **options)
    expected = expected[0] if isinstance(expected, tuple) else expected
    weights = random(tuple(expected.shape), 9)
    (expected * torch.tensor(weights)).sum().backward()

    parameters, buffers = module.values()

    def run(parameters: dict, inputs: tuple) -> Any:
        y, after = nn.functional_call(module, parameters, buffers, *inputs)
        y = y[0] if isinstance(y, tuple) else y
        return (y * weights).sum(), (y, after)

    floats = tuple(x for x in inputs if x.dtype == np.float64)
    if not floats:
        (_, (y, after)), by_parameters = mlc.value_and_grad(lambda p: run(p, inputs), has_aux=True)(parameters)
        by_inputs: tuple = ()
    else:
        (_, (y, after)), (by_parameters, by_inputs) = mlc.value_and_grad(run, (0, 1), has_aux=True)(parameters, floats)
    np.testing.assert_allclose(np.asarray(y), expected.detach().numpy(), rtol=1e-9, atol=1e-10)
    for key, parameter in theirs.named_parameters():
        np.testing.assert_allclose(np.asarray(by_parameters[key]), parameter.grad.numpy(), rtol=1e-7, atol=1e-9)
    for found, x in zip(by_inputs, given, strict=False):
        np.testing.assert_allclose(np.asarray(found), x.grad.numpy(), rtol=1e-7, atol=1e-9)
    for key, value in theirs.named_buffers():
        np.testing.assert_allclose(np.asarray(after[key]), value.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in LAYERS if name not in ("encoder", "decoder")])
def test_first_values_have_the_distributions_of_pytorch(name: str) -> None:
    """Bounds and variances over many draws of small layers."""
    make, ours, _ = LAYERS[name]
    draws = 100
    theirs: dict[str, list] = {}
    mine: dict[str, list] = {}
    for _ in range(draws):
        for key, value in make(torch.nn).named_parameters():
            theirs.setdefault(key, []).append(value.detach().numpy())
        for key, found in ours().named_parameters():
            mine.setdefault(key, []).append(np.asarray(found))
    assert list(theirs) == list(mine)
    for key, values in theirs.items():
        expected, found = np.array(values), np.array(mine[key])
        assert found.std() == pytest.approx(expected.std(), rel=8 / np.sqrt(2 * found.size), abs=1e-12)
        assert found.mean() == pytest.approx(expected.mean(), abs=8 * expected.std() / np.sqrt(found.size) + 1e-12)
        if name != "embedding":
            assert abs(found).max() == pytest.approx(abs(expected).max(), rel=30 / found.size)


LOSSES = {
    "mse": (lambda f, x, t: f.mse_loss(x, t), nn.mse_loss),
    "l1": (lambda f, x, t: f.l1_loss(x, t), nn.l1_loss),
    "huber": (lambda f, x, t: f.huber_loss(x, t, delta=0.3), lambda x, t: nn.huber_loss(x, t, 0.3)),
    "binary": (lambda f, x, t: f.binary_cross_entropy_with_logits(x, t), nn.binary_cross_entropy_with_logits),
    "probabilities": (
        lambda f, x, t: f.cross_entropy(x, t, label_smoothing=0.2),
        lambda x, t: nn.cross_entropy(x, t, label_smoothing=0.2),
    ),
    "divergence": (
        lambda f, x, t: f.kl_div(f.log_softmax(x, -1), t, reduction="batchmean"),
        lambda x, t: nn.kl_divergence(nn.functional.log_softmax(x), t),
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_agree_with_their_gradients(name: str) -> None:
    theirs, ours = LOSSES[name]
    target = np.random.default_rng(0).random((5, 4))
    target /= target.sum(1, keepdims=True)
    x = torch.tensor(ROWS, requires_grad=True)
    expected = theirs(torch.nn.functional, x, torch.tensor(target))
    expected.backward()
    loss, grad = mlc.value_and_grad(lambda x: ours(x, target))(ROWS)
    assert float(loss) == pytest.approx(expected.item(), rel=1e-12)
    np.testing.assert_allclose(np.asarray(grad), x.grad.numpy(), rtol=1e-9, atol=1e-12)


def test_cross_entropy_of_classes_agrees() -> None:
    target = np.array([0, 3, -100, 1, 2])
    for smoothing in (0.0, 0.3):
        for reduction in ("mean", "sum", "none"):
            options = {"label_smoothing": smoothing, "reduction": reduction}
            expected = torch.nn.functional.cross_entropy(torch.tensor(ROWS), torch.tensor(target), **options)
            found = nn.cross_entropy(ROWS, target, ignore_index=-100, **options)
            np.testing.assert_allclose(np.asarray(found), expected.numpy(), rtol=1e-12, atol=1e-15)
