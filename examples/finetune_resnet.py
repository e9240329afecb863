"""Fine-tune an ONNX model: a residual network that knows upright digits learns mirrored ones, is exported again, and trains on from a C program.

    python examples/finetune_resnet.py                     pre-train, fine-tune, export; compare with onnxruntime, and with C where `cc` is there
    python examples/finetune_resnet.py --blocks 1 1        a smaller network

The network is built of ONNX nodes here, as ResNet-18 is (He et al. 2015): a stem, four stages of two blocks, eight times as narrow, for images of 8 x 8 pixels. Any ONNX file takes the
same road: mlc.train_step(path, ...).
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits

import mlc
from mlc.data import ArrayDataset, DataLoader, Mean, Monitor
from mlc.optim import Adam

BATCH, TEST = 64, 360


class Network:
    """Nodes and weights of a residual network, as they are added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.random = np.random.default_rng(0)

    def weight(self, name: str, *shape: int, spread: float = 0.0, value: float = 0.0) -> str:
        array = value + spread * self.random.standard_normal(shape)
        self.weights.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    def node(self, kind: str, inputs: Sequence[str], name: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def conv(self, x: str, name: str, channels: int, outputs: int, size: int, stride: int = 1) -> str:
        """Convolution and batch normalisation; first weights by He et al."""
        w = self.weight(f"{name}.weight", outputs, channels, size, size, spread=(2 / (channels * size * size)) ** 0.5)
        y = self.node("Conv", [x, w], f"{name}.conv", strides=[stride] * 2, pads=[size // 2] * 4)
        given = {"scale": 1.0, "bias": 0.0, "mean": 0.0, "variance": 1.0}
        norm = [self.weight(f"{name}.{part}", outputs, value=value) for part, value in given.items()]
        return self.node("BatchNormalization", [y, *norm], f"{name}.norm")

    def block(self, x: str, name: str, channels: int, outputs: int, stride: int) -> str:
        y = self.node("Relu", [self.conv(x, f"{name}.1", channels, outputs, 3, stride)], f"{name}.relu1")
        y = self.conv(y, f"{name}.2", outputs, outputs, 3)
        if stride != 1 or channels != outputs:
            x = self.conv(x, f"{name}.shortcut", channels, outputs, 1, stride)
        return self.node("Relu", [self.node("Add", [x, y], f"{name}.add")], f"{name}.relu2")


def resnet(blocks: Sequence[int] = (2, 2, 2, 2), width: int = 8) -> onnx.ModelProto:
    """Logits [N, 10] of images [N, 1, 8, 8]; stages of so many blocks, each of twice the channels and half the sides of the one before."""
    net, channels = Network(), width
    x = net.node("Relu", [net.conv("images", "stem", 1, width, 3)], "stem.relu")
    for stage, count in enumerate(blocks):
        for number in range(count):
            outputs = width << stage
            x = net.block(x, f"stage{stage}.{number}", channels, outputs, 2 if stage and not number else 1)
            channels = outputs
    x = net.node("Flatten", [net.node("GlobalAveragePool", [x], "pool")], "features")
    net.node(
        "Gemm",
        [x, net.weight("head.weight", channels, 10, spread=channels**-0.5), net.weight("head.bias", 10)],
        "logits",
    )
    graph = helper.make_graph(
        net.nodes,
        "resnet",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])],
        net.weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def digits(mirrored: bool) -> tuple[DataLoader, np.ndarray, np.ndarray]:
    """Batches to train on, then images and labels of the test. Mirrored ones are turned about the diagonal, and are dark on light."""
    data = load_digits()
    images, labels = (data.images[:, None] / 16).astype(np.float32), data.target.astype(np.int64)
    if mirrored:
        images = np.ascontiguousarray(1 - images.transpose(0, 1, 3, 2))
    train = ArrayDataset(images[:-TEST], labels[:-TEST])
    return DataLoader(train, batch_size=BATCH, shuffle=True, seed=0), images[-TEST:], labels[-TEST:]


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    return float((np.asarray(logits).argmax(1) == labels).mean())


def train(step: Any, loader: DataLoader, epochs: int) -> None:
    with Monitor(epochs * len(loader)) as monitor:
        for epoch in range(epochs):
            mean = Mean()
            for x, y in loader:
                loss = step(x, y).item()
                mean.update(loss, len(x))
                monitor.update(loss, len(x))
            monitor.say(f"  epoch {epoch + 1}  loss {mean.value:.4f}")


def pretrained(path: Path, blocks: Sequence[int], epochs: int) -> None:
    """Write a model that knows upright digits: the network with the weights and statistics of its training."""
    model = resnet(blocks)
    step = mlc.train_step(model, "cross_entropy", Adam(3e-3), train_statistics=True)
    train(step, digits(mirrored=False)[0], epochs)
    learned = {**step.parameters, **step.buffers}
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(np.asarray(learned[tensor.name]), tensor.name))
    onnx.save(model, path)


def fine_tuning(model: Path) -> Any:
    return mlc.train_step(model, "cross_entropy", Adam(2e-3), freeze="stem.*", train_statistics=True)


# From C ----------------------------------------------------------------------------------------------------------------------
PROGRAM = """
#include <stdio.h>
#include <stdlib.h>
#include "step.h"

int main(int count, char **words) { /* BATCHES FILE STATE: trains on that many batches of the file, and saves the state */
  int64_t rows = ROWS;
  float *images = malloc(sizeof(float) * SIZE * rows), loss = 0;
  int64_t *labels = malloc(sizeof(int64_t) * rows);
  FILE *file = count == 4 ? fopen(words[2], "rb") : NULL;
  step_handle *step = step_create();
  if (!images || !labels || !file || !step) return 1;
  for (int n = 0; n < atoi(words[1]); n++) {
    if (fread(images, sizeof(float) * SIZE, rows, file) != (size_t)rows || fread(labels, sizeof(int64_t), rows, file) != (size_t)rows) return 2;
    if (step_train(step, rows, images, labels, &loss)) return fprintf(stderr, "%s\\n", step_error(step)), 3;
  }
  if (step_save(step, words[3])) return fprintf(stderr, "%s\\n", step_error(step)), 3;
  printf("loss of the last batch %.6f\\n", loss);
  step_destroy(step);
  fclose(file);
  free(images);
  free(labels);
  return 0;
}
"""


def same_from_c(step: Any, folder: Path, batches: Sequence[tuple[np.ndarray, np.ndarray]]) -> bool:
    """Whether a C program that makes a step on each batch ends with the bytes that Python ends with."""
    images, _ = batches[0]
    step.export(folder / "libstep.so", *batches[0], header=folder / "step.h")
    sizes = {"ROWS": str(len(images)), "SIZE": str(images[0].size)}
    if "step_train(step_handle *self, int64_t" not in (folder / "step.h").read_text():
        sizes["(step, rows, "] = "(step, "  # the model is for batches of one size
    program = PROGRAM
    for name, text in sizes.items():
        program = program.replace(name, text)
    (folder / "main.c").write_text(program)
    subprocess.run(["cc", "-O1", "main.c", "-L.", "-lstep", "-Wl,-rpath,.", "-o", "main"], cwd=folder, check=True)
    (folder / "batches").write_bytes(b"".join(x.tobytes() + y.tobytes() for x, y in batches))
    words = ["./main", str(len(batches)), "batches", "from_c.safetensors"]
    print("  C:     ", subprocess.run(words, cwd=folder, check=True, capture_output=True, text=True).stdout.strip())
    for x, y in batches:
        loss = step(x, y)
    print(f"  Python: loss of the last batch {loss.item():.6f}")
    step.save(folder / "from_python.safetensors")
    return (folder / "from_c.safetensors").read_bytes() == (folder / "from_python.safetensors").read_bytes()


def main(arguments: list[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, nargs="+", default=[2, 2, 2, 2], help="of each stage")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--out", type=Path, help="a folder for the models; without, they are not kept")
    args = parser.parse_args(arguments)
    if min(args.blocks) < 1 or len(args.blocks) > 4 or args.epochs < 1:
        parser.error("1 to 4 stages of a block at least, and an epoch at least")
    found = {}
    with tempfile.TemporaryDirectory() as made:
        folder = args.out or Path(made)
        folder.mkdir(exist_ok=True)

        # 1. A model that somebody has trained.
        print("pre-training on upright digits")
        pretrained(folder / "upright.onnx", args.blocks, args.epochs)
        _, images, labels = digits(mirrored=False)
        found["upright"] = accuracy(mlc.compile(folder / "upright.onnx")(images), labels)

        # 2. Fine-tuning: the stem's weights stay as they are, statistics of normalisation become those of the new images.
        loader, images, labels = digits(mirrored=True)
        step = fine_tuning(folder / "upright.onnx")
        found["before"] = accuracy(step.evaluate(images), labels)
        print("fine-tuning on mirrored digits")
        train(step, loader, args.epochs)
        found["after"] = accuracy(step.evaluate(images), labels)
        for name, value in found.items():
            print(f"test accuracy, {name:8} {value:.3f}")

        # 3. The model for any other runtime.
        mlc.export_onnx(step.trained(), folder / "mirrored.onnx")
        found["off"] = off_from_onnxruntime(folder / "mirrored.onnx", images, np.asarray(step.evaluate(images)))
        print(f"onnxruntime's logits of the exported model differ by at most {found['off']:.1e}")

        # 4. The same training from C.
        if which("cc"):
            print("three steps from C and from Python")
            batches = [pair for pair, _ in zip(loader, range(3), strict=False)]
            found["same"] = float(same_from_c(fine_tuning(folder / "upright.onnx"), Path(made), batches))
            print("  the states are the same bytes" if found["same"] else "  the states DIFFER")
        else:
            print("there is no C compiler (cc), and so no training from C")
    return found


def off_from_onnxruntime(path: Path, images: np.ndarray, logits: np.ndarray) -> float:
    try:
        import onnxruntime
    except ImportError:
        raise SystemExit(
            "onnxruntime, which the exported model is run with, is not installed: pip install onnxruntime"
        ) from None
    session = onnxruntime.InferenceSession(path)
    (theirs,) = session.run(None, {session.get_inputs()[0].name: images})
    return float(np.abs(theirs - logits).max())


if __name__ == "__main__":
    main()
