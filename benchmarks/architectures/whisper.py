"""The encoder of Whisper-tiny (Radford et al. 2022): two 1-d convolutions over mel frames, then pre-norm attention."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.architectures.model import Model
from benchmarks.architectures.random_weights import randomise
from benchmarks.architectures.vit import Block
from benchmarks.model_inputs import Input, Signature


class WhisperEncoder(nn.Module):
    def __init__(self, mels: int, positions: int, width: int, depth: int, heads: int):
        super().__init__()
        self.conv1 = nn.Conv1d(mels, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        angles = torch.arange(positions)[:, None] * 10000.0 ** (-torch.linspace(0, 1, width // 2))
        self.register_buffer("positions", torch.cat([angles.sin(), angles.cos()], dim=1))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, mel: Tensor) -> Tensor:
        x = functional.gelu(self.conv2(functional.gelu(self.conv1(mel)))).transpose(1, 2)
        x = x + self.positions[: x.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


def whisper_encoder(small: bool) -> Model:
    module = WhisperEncoder(8, 32, 32, 2, 2) if small else WhisperEncoder(80, 1500, 384, 4, 6)
    return Model(
        module=randomise(module),
        signature=Signature(
            inputs=(Input("mel", ("N", 8 if small else 80, "T")),),
            sizes={"N": 2, "T": 20} if small else {"N": 1, "T": 3000},
            high={"T": 64 if small else 3000},
        ),
        outputs=("last_hidden_state",),
    )
