"""A small Llama-like decoder: RMSNorm, rotary positions, grouped-query attention, SwiGLU; also one step with a cache."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.architectures.model import Model
from benchmarks.architectures.random_weights import randomise
from benchmarks.model_inputs import Input, Signature


class RMSNorm(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
    return x * cos + torch.cat([-second, first], dim=-1) * sin


def repeat_heads(x: Tensor, times: int) -> Tensor:
    n, heads, length, size = x.shape
    return x[:, :, None].expand(n, heads, times, length, size).reshape(n, heads * times, length, size)


class Block(nn.Module):
    def __init__(self, width: int, heads: int, kv_heads: int, hidden: int):
        super().__init__()
        self.heads, self.kv_heads, self.size = heads, kv_heads, width // heads
        self.norm1, self.norm2 = RMSNorm(width), RMSNorm(width)
        self.q, self.o = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.k, self.v = (nn.Linear(width, kv_heads * self.size, bias=False) for _ in range(2))
        self.gate, self.up = (nn.Linear(width, hidden, bias=False) for _ in range(2))
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        n, s, _ = x.shape
        y = self.norm1(x)
        q = rotate(self.q(y).view(n, s, self.heads, self.size).transpose(1, 2), cos, sin)
        k = rotate(self.k(y).view(n, s, self.kv_heads, self.size).transpose(1, 2), cos, sin)
        v = self.v(y).view(n, s, self.kv_heads, self.size).transpose(1, 2)
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        times = self.heads // self.kv_heads
        attended = functional.scaled_dot_product_attention(
            q, repeat_heads(k, times), repeat_heads(v, times), attn_mask=mask
        )
        x = x + self.o(attended.transpose(1, 2).reshape(n, s, -1))
        y = self.norm2(x)
        return x + self.down(functional.silu(self.gate(y)) * self.up(y)), k, v


class Llama(nn.Module):
    def __init__(self, vocabulary: int, width: int, depth: int, heads: int, kv_heads: int, hidden: int):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.blocks = nn.ModuleList(Block(width, heads, kv_heads, hidden) for _ in range(depth))
        self.norm = RMSNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        size = width // heads
        self.register_buffer("frequencies", 10000.0 ** (-torch.arange(0, size, 2).float() / size))

    def rotary(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        angles = positions[..., None].float() * self.frequencies
        angles = torch.cat([angles, angles], dim=-1)
        return angles.cos()[:, None], angles.sin()[:, None]

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.tokens(input_ids)
        steps = torch.arange(input_ids.shape[1], device=x.device)
        cos, sin = self.rotary(steps[None])
        mask = torch.where(steps[None, :] <= steps[:, None], 0.0, torch.finfo(x.dtype).min)[None, None]
        for block in self.blocks:
            x, _, _ = block(x, cos, sin, mask, None)
        return self.head(self.norm(x))


class LlamaCache(Llama):
    """One token per sequence, left padding through an attention mask over the past and the token."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        x = self.tokens(input_ids)
        positions = attention_mask.cumsum(-1)[:, -1:] - 1
        cos, sin = self.rotary(positions)
        mask = torch.where(attention_mask[:, None, None, :] == 0, torch.finfo(x.dtype).min, 0.0)
        present: list[Tensor] = []
        for i, block in enumerate(self.blocks):
            x, k, v = block(x, cos, sin, mask, (past[2 * i], past[2 * i + 1]))
            present += [k, v]
        return (self.head(self.norm(x)), *present)


FULL = (16000, 512, 8, 8, 4, 1408)
SMALL = (97, 32, 2, 4, 2, 48)


def llama(small: bool) -> Model:
    config = SMALL if small else FULL
    return Model(
        module=randomise(Llama(*config)),
        signature=Signature(
            inputs=(Input("input_ids", ("N", "S"), "ids", config[0]),),
            sizes={"N": 2, "S": 7} if small else {"N": 1, "S": 64},
        ),
        outputs=("logits",),
    )


def llama_cache(small: bool) -> Model:
    config = SMALL if small else FULL
    vocabulary, width, depth, heads, kv_heads, _ = config
    parts = [(i, part) for i in range(depth) for part in ("key", "value")]
    past_dims = ("N", kv_heads, "P", width // heads)
    return Model(
        module=randomise(LlamaCache(*config)),
        signature=Signature(
            inputs=(
                Input("input_ids", ("N", 1), "ids", vocabulary),
                Input("attention_mask", ("N", "P+1"), "mask"),
                *(Input(f"past_key_values.{i}.{part}", past_dims) for i, part in parts),
            ),
            sizes={"N": 2, "P": 6} if small else {"N": 1, "P": 64},
            low={"P": 0},
        ),
        outputs=("logits", *(f"present.{i}.{part}" for i, part in parts)),
    )
