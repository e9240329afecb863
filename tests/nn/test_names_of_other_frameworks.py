"""Names that PyTorch, Keras and optax have are answered with those of mlc."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest

import mlc
from mlc import nn, optim
from mlc.other_frameworks import KEYWORDS


@pytest.mark.parametrize(
    ("call", "name", "meant"),
    [
        (lambda: nn.Linear(in_features=3, out_features=4), "in_features", "inputs"),
        (lambda: nn.LSTM(4, hidden_size=8), "hidden_size", "hidden"),
        (lambda: nn.GRU(4, 8, num_layers=2), "num_layers", "layers"),
        (lambda: nn.RNN(input_size=4, hidden=8), "input_size", "inputs"),
        (lambda: nn.Conv2d(1, 4, kernel_size=3), "kernel_size", "kernel"),
        (lambda: nn.Conv2d(in_channels=1, outputs=4, kernel=3), "in_channels", "channels"),
        (lambda: nn.LayerNorm(8, epsilon=1e-5), "epsilon", "eps"),
        (lambda: nn.TransformerEncoderBlock(8, nhead=2, hidden=16), "nhead", "heads"),
        (lambda: nn.Embedding(10, embedding_dim=4), "embedding_dim", "size"),
        (lambda: optim.SGD(learning_rate=0.1), "learning_rate", "lr"),
        (lambda: optim.SGD(nn.Linear(1, 1), learning_rate=0.1), "learning_rate", "lr"),
        (lambda: optim.Adam(epsilon=1e-6), "epsilon", "eps"),
        (lambda: optim.ClipByNorm(optim.Adam(), max_norm=1.0), "max_norm", "norm"),
        (lambda: optim.StepDecay(0.1, step_size=10), "step_size", "every"),
        (lambda: optim.Exponential(0.1, gamma=0.9), "gamma", "factor"),
        (lambda: optim.Cosine(0.1, T_max=10), "T_max", "steps"),
        (lambda: optim.Adam(weight_deca=0.1), "weight_deca", "weight_decay"),
    ],
)
def test_a_keyword_of_another_framework_is_answered_with_ours(call: Callable[[], Any], name: str, meant: str) -> None:
    with pytest.raises(mlc.MlcError) as raised:
        call()
    assert raised.value.message.endswith(f"has no argument {name!r}")
    assert raised.value.remedy is not None and raised.value.remedy.startswith(f"It is called {meant!r} here: ")


def test_the_names_of_ours_are_arguments_somewhere() -> None:
    classes = [v for m in (nn, optim) for n in m.__all__ if isinstance(v := getattr(m, n), type)]
    assert set(KEYWORDS) <= {name for each in classes for name in inspect.signature(each.__init__).parameters}


def test_a_constructor_of_ones_own_answers_for_itself() -> None:
    class Own(nn.Module):
        def __init__(self, num_layers: int, **more: Any) -> None:
            self.count, self.more = num_layers, more

    assert Own(num_layers=2, hidden_size=3).more == {"hidden_size": 3}


@pytest.mark.parametrize("module", [nn, optim, mlc.numpy])
def test_a_name_that_is_not_there_says_what_to_write(module: Any) -> None:
    elsewhere = module._ELSEWHERE
    assert not set(elsewhere) & set(dir(module))
    for name, advice in elsewhere.items():
        with pytest.raises(AttributeError, match="has no attribute") as raised:
            getattr(module, name)
        assert str(raised.value).endswith(advice)
    assert not hasattr(module, "nothing_like_it")


def test_a_name_that_is_nearly_right_is_suggested() -> None:
    with pytest.raises(AttributeError, match="Did you mean MultiHeadAttention"):
        nn.MultiheadAttention  # noqa: B018
    with pytest.raises(AttributeError, match="Did you mean AdaGrad"):
        optim.Adagrad  # noqa: B018


@pytest.mark.parametrize("option", ["static_argnums", "static_argnames"])
def test_static_arguments_by_the_names_of_jax(option: str) -> None:
    with pytest.raises(mlc.MlcError, match=f"mlc.jit has no argument '{option}'") as raised:
        mlc.jit(lambda x, n: x * n, **{option: 1})
    assert raised.value.remedy == "Static arguments go by name: static=['n']."
