"""U-Net (Ronneberger et al. 2015) with padded convolutions and batch norm; upsampling by transposed convolution or bilinear."""

import torch
from torch import Tensor, nn

from benchmarks.architectures.model import Model
from benchmarks.architectures.random_weights import calibrate_batch_norm, randomise
from benchmarks.model_inputs import Input, Signature


def double_conv(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


def upsampling(inputs: int, resize: bool) -> nn.Module:
    if not resize:
        return nn.ConvTranspose2d(inputs, inputs // 2, 2, stride=2)
    return nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(inputs, inputs // 2, 1))


class UNet(nn.Module):
    def __init__(self, width: int, levels: int, classes: int, resize: bool):
        super().__init__()
        widths = [width << level for level in range(levels + 1)]
        self.down = nn.ModuleList(double_conv(a, b) for a, b in zip([3, *widths], widths, strict=False))
        self.up = nn.ModuleList(upsampling(w, resize) for w in reversed(widths[1:]))
        self.merge = nn.ModuleList(double_conv(w, w // 2) for w in reversed(widths[1:]))
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for i, block in enumerate(self.down):
            x = block(self.pool(x) if i else x)
            skips.append(x)
        skips.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat([skips.pop(), up(x)], dim=1))
        return self.head(x)


def unet(small: bool) -> Model:
    return _model(UNet(8, 2, 2, resize=False) if small else UNet(32, 4, 2, resize=False), small)


def unet_resize(small: bool) -> Model:
    return _model(UNet(8, 2, 2, resize=True) if small else UNet(32, 4, 2, resize=True), small)


def _model(module: nn.Module, small: bool) -> Model:
    step, size = (4, 6) if small else (16, 16)  # each level halves the image
    model = Model(
        module=randomise(module),
        signature=Signature(
            inputs=(Input("x", ("N", 3, f"{step}*h", f"{step}*w")),),
            sizes={"N": 2 if small else 1, "h": size, "w": size},
        ),
        outputs=("mask",),
    )
    calibrate_batch_norm(module, *model.arguments({"N": 2}))
    return model
