"""A two-layer LSTM language model, and a bidirectional LSTM that labels every step."""

from torch import Tensor, nn

from benchmarks.architectures.model import Model
from benchmarks.architectures.random_weights import randomise
from benchmarks.model_inputs import Input, Signature


class RecurrentModel(nn.Module):
    def __init__(self, vocabulary: int, width: int, hidden: int, layers: int, bidirectional: bool, outputs: int):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.lstm = nn.LSTM(width, hidden, layers, batch_first=True, bidirectional=bidirectional)
        self.head = nn.Linear(hidden * (2 if bidirectional else 1), outputs)

    def forward(self, input_ids: Tensor) -> Tensor:
        hidden, _ = self.lstm(self.tokens(input_ids))
        return self.head(hidden)


def lstm(small: bool) -> Model:
    return _model((89, 24, 32, 2, False, 89) if small else (10000, 512, 512, 2, False, 10000), small)


def lstm_bidirectional(small: bool) -> Model:
    return _model((89, 24, 32, 1, True, 5) if small else (10000, 256, 256, 2, True, 17), small)


def _model(config: tuple[int, int, int, int, bool, int], small: bool) -> Model:
    return Model(
        module=randomise(RecurrentModel(*config)),
        signature=Signature(
            inputs=(Input("input_ids", ("N", "S"), "ids", config[0]),),
            sizes={"N": 2, "S": 6} if small else {"N": 1, "S": 64},
            fixed_in_dynamo=("S",),  # torch.export's shape rule of an LSTM runs over the steps of the example
        ),
        outputs=("logits",),
    )
