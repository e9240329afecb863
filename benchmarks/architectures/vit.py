"""ViT-S/16 (Dosovitskiy et al. 2020; sizes of DeiT-small), attention as scaled_dot_product_attention."""

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
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, s, c = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(n, s, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        attended = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, s, c)
        x = x + self.out(attended)
        return x + self.fc2(functional.gelu(self.fc1(self.norm2(x))))


class VisionTransformer(nn.Module):
    def __init__(self, image: int, patch: int, width: int, depth: int, heads: int, classes: int):
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, (image // patch) ** 2 + 1, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width, eps=1e-6), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1) + self.positions
        return self.head(self.norm(self.blocks(x))[:, 0])


def vit_small(small: bool) -> Model:
    image, patch = (32, 8) if small else (224, 16)
    sizes = (32, 2, 2, 10) if small else (384, 12, 6, 1000)
    return Model(
        module=randomise(VisionTransformer(image, patch, *sizes)),
        signature=Signature(
            inputs=(Input("x", ("N", 3, image, image)),),
            sizes={"N": 2 if small else 1},
        ),
        outputs=("logits",),
    )
