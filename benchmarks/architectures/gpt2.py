"""GPT-2 small (Radford et al. 2019): causal over a prompt, and with keys and values of the past as inputs and outputs."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.architectures.model import Model
from benchmarks.architectures.random_weights import randomise
from benchmarks.model_inputs import Input, Signature


class Block(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def split(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], x.shape[1], self.heads, x.shape[2] // self.heads).transpose(1, 2)

    def forward(self, x: Tensor, past: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = (self.split(part) for part in self.qkv(self.norm1(x)).split(x.shape[-1], dim=2))
        if past is None:
            attended = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            length = past[0].shape[2]
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
            rows = torch.arange(q.shape[2], device=x.device)[:, None] + length
            visible = torch.arange(k.shape[2], device=x.device)[None, :] <= rows
            scores = torch.matmul(q, k.transpose(-1, -2)) * (q.shape[-1] ** -0.5)
            scores = torch.where(visible, scores, torch.finfo(scores.dtype).min)
            attended = torch.matmul(torch.softmax(scores, dim=-1), v)
        x = x + self.out(attended.transpose(1, 2).reshape(x.shape))
        y = functional.gelu(self.fc1(self.norm2(x)), approximate="tanh")
        return x + self.fc2(y), k, v


class GPT2(nn.Module):
    def __init__(self, vocabulary: int, positions: int, width: int, depth: int, heads: int):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(positions, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def embed(self, input_ids: Tensor, length: int) -> Tensor:
        positions = torch.arange(length, length + input_ids.shape[1], device=input_ids.device)
        return self.tokens(input_ids) + self.positions(positions)

    def logits(self, x: Tensor) -> Tensor:
        return functional.linear(self.norm(x), self.tokens.weight)

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.embed(input_ids, 0)
        for block in self.blocks:
            x, _, _ = block(x, None)
        return self.logits(x)


class GPT2Cache(GPT2):
    def forward(self, input_ids: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        x = self.embed(input_ids, past[0].shape[2])
        present: list[Tensor] = []
        for i, block in enumerate(self.blocks):
            x, k, v = block(x, (past[2 * i], past[2 * i + 1]))
            present += [k, v]
        return (self.logits(x), *present)


FULL = (50257, 1024, 768, 12, 12)
SMALL = (101, 64, 32, 2, 2)


def gpt2(small: bool) -> Model:
    config = SMALL if small else FULL
    return Model(
        module=randomise(GPT2(*config)),
        signature=Signature(
            inputs=(Input("input_ids", ("N", "S"), "ids", config[0]),),
            sizes={"N": 2, "S": 9} if small else {"N": 1, "S": 64},
            high={"S": 64 if small else 1024},
        ),
        outputs=("logits",),
    )


def gpt2_cache(small: bool) -> Model:
    config = SMALL if small else FULL
    _, _, width, depth, heads = config
    parts = [(i, part) for i in range(depth) for part in ("key", "value")]
    past_dims = ("N", heads, "P", width // heads)
    return Model(
        module=randomise(GPT2Cache(*config)),
        signature=Signature(
            inputs=(
                Input("input_ids", ("N", "S"), "ids", config[0]),
                *(Input(f"past_key_values.{i}.{part}", past_dims) for i, part in parts),
            ),
            sizes={"N": 2, "S": 3, "P": 5} if small else {"N": 1, "S": 1, "P": 64},
            low={"P": 0},
            high={"S": 24, "P": 40} if small else {"S": 124, "P": 900},  # positions of past and prompt together
        ),
        outputs=("logits", *(f"present.{i}.{part}" for i, part in parts)),
    )
