"""BERT-base (Devlin et al. 2018) with an attention mask; attention written out as matrix products and a softmax."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.architectures.model import Model
from benchmarks.architectures.random_weights import randomise
from benchmarks.model_inputs import Input, Signature


class Layer(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out, self.norm1 = nn.Linear(width, width), nn.LayerNorm(width, eps=1e-12)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm2 = nn.LayerNorm(width, eps=1e-12)

    def split(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], x.shape[1], self.heads, self.size).permute(0, 2, 1, 3)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(self.size) + mask
        context = torch.matmul(torch.softmax(scores, dim=-1), v).permute(0, 2, 1, 3).contiguous()
        x = self.norm1(x + self.out(context.view(x.shape)))
        return self.norm2(x + self.fc2(functional.gelu(self.fc1(x))))


class Bert(nn.Module):
    def __init__(self, vocabulary: int, positions: int, width: int, depth: int, heads: int):
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(positions, width)
        self.types = nn.Embedding(2, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(depth))
        self.pooler = nn.Linear(width, width)
        self.register_buffer("position_ids", torch.arange(positions)[None])

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> tuple[Tensor, Tensor]:
        positions = self.position_ids[:, : input_ids.shape[1]]
        x = self.norm(self.words(input_ids) + self.types(token_type_ids) + self.positions(positions))
        mask = (1.0 - attention_mask[:, None, None, :].to(x.dtype)) * torch.finfo(x.dtype).min
        for layer in self.layers:
            x = layer(x, mask)
        return x, torch.tanh(self.pooler(x[:, 0]))


def bert(small: bool) -> Model:
    vocabulary = 99 if small else 30522
    module = Bert(99, 64, 32, 2, 2) if small else Bert(30522, 512, 768, 12, 12)
    return Model(
        module=randomise(module),
        signature=Signature(
            inputs=(
                Input("input_ids", ("N", "S"), "ids", vocabulary),
                Input("attention_mask", ("N", "S"), "mask"),
                Input("token_type_ids", ("N", "S"), "ids", 2),
            ),
            sizes={"N": 2, "S": 11} if small else {"N": 1, "S": 128},
            high={"S": 64 if small else 512},
        ),
        outputs=("last_hidden_state", "pooler_output"),
    )
