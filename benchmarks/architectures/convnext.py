"""ConvNeXt-tiny (Liu et al. 2022): 7x7 depthwise convolutions, channels-last layer norm, layer scale."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.architectures.model import Model
from benchmarks.architectures.random_weights import randomise
from benchmarks.model_inputs import Input, Signature


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of an NCHW tensor."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Block(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.expand = nn.Linear(channels, 4 * channels)
        self.project = nn.Linear(4 * channels, channels)
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.project(functional.gelu(self.expand(y))).permute(0, 3, 1, 2)
        return x + self.scale * y


class ConvNeXt(nn.Module):
    def __init__(self, depths: tuple[int, ...], widths: tuple[int, ...], classes: int):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 4, 4), ChannelNorm(widths[0], eps=1e-6)]
        for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            if stage:
                layers += [ChannelNorm(widths[stage - 1], eps=1e-6), nn.Conv2d(widths[stage - 1], width, 2, 2)]
            layers += [Block(width) for _ in range(depth)]
        self.features = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(widths[-1], eps=1e-6)
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.features(x).mean((-2, -1))))


def convnext_tiny(small: bool) -> Model:
    module = ConvNeXt((1, 1), (16, 32), 10) if small else ConvNeXt((3, 3, 9, 3), (96, 192, 384, 768), 1000)
    size = 32 if small else 224
    return Model(
        module=randomise(module),
        signature=Signature(
            inputs=(Input("x", ("N", 3, "H", "W")),),
            sizes={"N": 2 if small else 1, "H": size, "W": size},
            low={"H": 8, "W": 8} if small else {"H": 32, "W": 32},
        ),
        outputs=("logits",),
    )
