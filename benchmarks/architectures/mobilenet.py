"""MobileNetV2 (Sandler et al. 2018): inverted residuals of depthwise convolutions with ReLU6."""

import torch
from torch import Tensor, nn

from benchmarks.architectures.model import Model
from benchmarks.architectures.random_weights import calibrate_batch_norm, randomise
from benchmarks.model_inputs import Input, Signature

# expansion, channels, repeats, stride of the first
FULL = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
SMALL = ((1, 8, 1, 1), (4, 16, 2, 2))


def conv_norm_relu6(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU6())


class InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int):
        super().__init__()
        hidden = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        self.layers = nn.Sequential(
            *([conv_norm_relu6(inputs, hidden, 1)] if expansion != 1 else []),
            conv_norm_relu6(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


class MobileNetV2(nn.Module):
    def __init__(self, settings: tuple[tuple[int, int, int, int], ...], stem: int, last: int, classes: int):
        super().__init__()
        layers: list[nn.Module] = [conv_norm_relu6(3, stem, 3, 2)]
        channels = stem
        for expansion, outputs, repeats, stride in settings:
            for i in range(repeats):
                layers.append(InvertedResidual(channels, outputs, stride if i == 0 else 1, expansion))
                channels = outputs
        self.features = nn.Sequential(*layers, conv_norm_relu6(channels, last, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(nn.functional.adaptive_avg_pool2d(self.features(x), 1), 1))


def mobilenet_v2(small: bool) -> Model:
    module = MobileNetV2(SMALL, 8, 32, 10) if small else MobileNetV2(FULL, 32, 1280, 1000)
    size = 32 if small else 224
    model = Model(
        module=randomise(module),
        signature=Signature(
            inputs=(Input("x", ("N", 3, "H", "W")),),
            sizes={"N": 2 if small else 1, "H": size, "W": size},
        ),
        outputs=("logits",),
    )
    calibrate_batch_norm(module, *model.arguments({"N": 4, "H": min(size, 128), "W": min(size, 128)}))
    return model
