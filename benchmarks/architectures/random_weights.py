"""Seeded random weights that keep activations near unit variance, so that an error in any layer shows in the outputs."""

import torch
from torch import nn

NORMS = (nn.LayerNorm, nn.BatchNorm2d, nn.GroupNorm)


@torch.no_grad()
def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give every parameter of a module a random value: weights of variance 1/fan_in (2/fan_in before a ReLU has to be the
    norm's business), norms near one, biases and embeddings small. Returns the module in eval mode."""
    generator = torch.Generator().manual_seed(seed)

    def normal(parameter: torch.Tensor, std: float, mean: float = 0.0) -> None:
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * std + mean)

    for layer in module.modules():
        if isinstance(layer, NORMS):
            normal(layer.weight, 0.1, 1.0)
            normal(layer.bias, 0.1)
            continue
        for name, parameter in layer.named_parameters(recurse=False):
            if parameter.dim() < 2:  # RMSNorm and layer scale are ones to begin with, biases zeros
                normal(parameter, 0.1, 1.0 if name == "weight" else 0.0)
            elif isinstance(layer, nn.Embedding):
                normal(parameter, 0.5)
            else:
                fan_in = parameter.shape[0] if isinstance(layer, nn.ConvTranspose2d) else parameter[0].numel()
                normal(parameter, fan_in**-0.5)
    return module.eval()


@torch.no_grad()
def calibrate_batch_norm(module: nn.Module, *inputs: torch.Tensor, seed: int = 0) -> nn.Module:
    """Set running statistics to those of a forward pass, moved by some per cent, so that folding them wrongly shows."""
    generator = torch.Generator().manual_seed(seed)
    layers = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    for layer in layers:
        layer.momentum = None  # a plain average: the statistics of this one pass
    module.train()
    module(*inputs)
    module.eval()
    for layer in layers:
        assert layer.running_mean is not None and layer.running_var is not None
        layer.running_mean += 0.1 * torch.randn(layer.running_mean.shape, generator=generator)
        layer.running_var *= 1.0 + 0.2 * torch.rand(layer.running_var.shape, generator=generator)
    return module
