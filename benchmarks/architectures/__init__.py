"""The architectures that are measured, in plain PyTorch: one file each, full size and in miniature.

`ARCHITECTURES[name](small)` builds a `Model`: the module with seeded random weights, its inputs and its symbols.
"""

from collections.abc import Callable

from benchmarks.architectures.bert import bert
from benchmarks.architectures.convnext import convnext_tiny
from benchmarks.architectures.gpt2 import gpt2, gpt2_cache
from benchmarks.architectures.llama import llama, llama_cache
from benchmarks.architectures.lstm import lstm, lstm_bidirectional
from benchmarks.architectures.mobilenet import mobilenet_v2
from benchmarks.architectures.model import Model
from benchmarks.architectures.resnet import resnet18, resnet50
from benchmarks.architectures.unet import unet, unet_resize
from benchmarks.architectures.vit import vit_small
from benchmarks.architectures.whisper import whisper_encoder

ARCHITECTURES: dict[str, Callable[[bool], Model]] = {
    "resnet18": resnet18,
    "resnet50": resnet50,
    "mobilenet_v2": mobilenet_v2,
    "convnext_tiny": convnext_tiny,
    "vit_small": vit_small,
    "bert": bert,
    "gpt2": gpt2,
    "gpt2_cache": gpt2_cache,
    "llama": llama,
    "llama_cache": llama_cache,
    "whisper_encoder": whisper_encoder,
    "unet": unet,
    "unet_resize": unet_resize,
    "lstm": lstm,
    "lstm_bidirectional": lstm_bidirectional,
}

# Variants of another architecture's kernels: exported in miniature only.
SMALL_ONLY = ("llama_cache", "unet_resize", "lstm_bidirectional")
