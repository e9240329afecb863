"""ResNet-18 and ResNet-50 (He et al. 2015, the variant with the stride in the 3x3 convolution)."""

import torch
from torch import Tensor, nn

from benchmarks.architectures.model import Model
from benchmarks.architectures.random_weights import calibrate_batch_norm, randomise
from benchmarks.model_inputs import Input, Signature


def conv_norm(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        self.conv1 = conv_norm(inputs, width, 3, stride)
        self.conv2 = conv_norm(width, width, 3)
        self.shortcut = conv_norm(inputs, width, 1, stride) if stride != 1 or inputs != width else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(torch.relu(self.conv1(x)))
        return torch.relu(y + self.shortcut(x))


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = conv_norm(inputs, width, 1)
        self.conv2 = conv_norm(width, width, 3, stride)
        self.conv3 = conv_norm(width, outputs, 1)
        self.shortcut = conv_norm(inputs, outputs, 1, stride) if stride != 1 or inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv3(torch.relu(self.conv2(torch.relu(self.conv1(x)))))
        return torch.relu(y + self.shortcut(x))


class ResNet(nn.Module):
    def __init__(self, block: type[BasicBlock | Bottleneck], depths: tuple[int, ...], width: int, classes: int):
        super().__init__()
        self.stem = nn.Sequential(conv_norm(3, width, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1))
        channels, blocks = width, []
        for stage, depth in enumerate(depths):
            for i in range(depth):
                blocks.append(block(channels, width << stage, 2 if stage and i == 0 else 1))
                channels = (width << stage) * block.expansion
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.flatten(self.pool(self.blocks(self.stem(x))), 1))


def resnet18(small: bool) -> Model:
    return _model(ResNet(BasicBlock, (1, 1), 8, 10) if small else ResNet(BasicBlock, (2, 2, 2, 2), 64, 1000), small)


def resnet50(small: bool) -> Model:
    return _model(ResNet(Bottleneck, (1, 1), 8, 10) if small else ResNet(Bottleneck, (3, 4, 6, 3), 64, 1000), small)


def _model(module: nn.Module, small: bool) -> Model:
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
