"""Fine-tune an exported image classifier at full size: the loss falls, onnxruntime agrees with the tuned model, and neither the number of
threads nor a C program in place of Python changes a bit of the state.

    python -m benchmarks.models --model resnet18           export ResNet-18 to benchmarks/build/
    python -m benchmarks.fine_tuning                       fine-tune it
    python -m benchmarks.fine_tuning --model mobilenet_v2.symbolic.onnx --rows 4

Images are random, and so are their labels: what is shown holds for any. Exit status 1 where something differs.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

import mlc
from benchmarks.models import BUILD
from examples.finetune_resnet import same_from_c
from mlc.optim import SGD

TOLERANCE = 1e-4  # of the largest logit
CLASSES = 1000


def batches_of(model: Path, rows: int, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The batch is the file's own size where that is fixed; each is seen twice, so that the loss has something to fall by."""
    (given,) = onnx.load(model, load_external_data=False).graph.input
    first, *image = [axis.dim_value for axis in given.type.tensor_type.shape.dim]
    rng = np.random.default_rng(0)
    shape = (first or rows, *(size or 224 for size in image))
    return [(rng.standard_normal(shape, dtype=np.float32), rng.integers(0, CLASSES, shape[0])) for _ in range(count)]


def tuned(make: Callable[..., Any], threads: int, batches: list[tuple[np.ndarray, np.ndarray]], state: Path) -> Any:
    """A step that has seen the batches, whose state it leaves in a file."""
    step = make(threads=threads)
    began = time.perf_counter()
    losses = [float(step(x, y)) for x, y in batches]
    took = time.perf_counter() - began
    print(f"{threads} threads: losses {' '.join(f'{loss:.4f}' for loss in losses)}; {took:.1f} s with compilation")
    step.save(state)
    return step


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=BUILD / "resnet18.dynamo.onnx")
    parser.add_argument("--rows", type=int, default=4, help="of a batch, where the file leaves them open")
    parser.add_argument("--batches", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2, 3])
    args = parser.parse_args()
    if not args.model.exists():
        raise SystemExit(f"{args.model} is not there: python -m benchmarks.models --model resnet18 --fixed")
    batches = batches_of(args.model, args.rows, args.batches) * args.epochs

    def make(**options: Any) -> Any:
        return mlc.train_step(args.model, "cross_entropy", SGD(1e-3, momentum=0.9), **options)

    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        states = {threads: folder / f"{threads}.safetensors" for threads in args.threads}
        step = [tuned(make, threads, batches, state) for threads, state in states.items()][-1]
        alike = len({state.read_bytes() for state in states.values()}) == 1
        print("states of all threads are the same bytes" if alike else "states of threads DIFFER")

        mlc.export_onnx(step.trained(), folder / "tuned.onnx")
        session = onnxruntime.InferenceSession(folder / "tuned.onnx", providers=["CPUExecutionProvider"])
        off = 0.0
        for x, _ in batches[: args.batches]:
            (theirs,), ours = session.run(None, {session.get_inputs()[0].name: x}), np.asarray(step.evaluate(x))
            off = max(off, float(np.abs(theirs - ours).max() / np.abs(theirs).max()))
        print(f"onnxruntime's logits of the tuned model differ by at most {off:.1e} of the largest")

        same = same_from_c(make(), folder, batches)
        print("the state from C has the bytes of Python's" if same else "the state from C DIFFERS")
    return 0 if alike and same and off < TOLERANCE else 1


if __name__ == "__main__":
    raise SystemExit(main())
