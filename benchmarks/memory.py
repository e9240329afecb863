"""Whether a first call takes the memory that is stated before it: `python -m benchmarks.memory [MODEL.onnx|PACKAGE ...]`.

Each model is compiled to a package, which a process of its own loads and calls once. Measured is what its resident memory grew by at most,
from after the import of mlc and a call of a small model; stated is `exe.memory_analysis(...).total`. All weights are read first, as verifying
them does: what a model looks up by rows would else stay on disk. Without arguments some models made here are measured, each
dominated by something else. Exit code 1 where a figure is off by more than a twentieth and 2 MiB.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from xdsl.ir import SSAValue

import mlc
from mlc.demo import MODEL
from mlc.ir import builder as g
from mlc.ir.module import Module

MIB = 1 << 20
SHARE = 0.05
ROUGH = 2 * MIB  # the interpreter's own memory, and pages of 2 MiB that the system gives whole

CHILD = """
import gc, json, sys
from pathlib import Path
import numpy as np, mlc
from mlc.cli import data
from mlc.demo import MODEL
from mlc.ir.sample_sizes import sample_binding

def status(key):
    rows = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(rows[key].split()[0]) << 10

path, sizes = sys.argv[1], json.loads(sys.argv[2])
small = mlc.load_executable(sys.argv[3], verify=True)
small(np.zeros((1, 1, 8, 8), np.float32))
from mlc.runtime import portable
from mlc.ir.samples import random_inputs
from mlc.runtime.package import read
package = read(path)
module = portable.read(package.module_text, package.weights, path)
inputs = random_inputs(module, sizes, 0)
del package, module
gc.collect()
Path("/proc/self/clear_refs").write_text("5")
before = status("VmRSS")
exe = mlc.load_executable(path, verify=True)
outputs = exe(*inputs)
use = exe.memory_analysis(**{k: v for k, v in sizes.items() if k in exe.plan.symbols})
print(json.dumps([status("VmHWM") - before, use.total, use.weights, use.arena, use.outputs]))
"""


@dataclass(frozen=True)
class Measured:
    """Bytes: by how much a process grew, and what was said of it."""

    grown: int
    stated: int
    weights: int
    arena: int
    outputs: int

    @property
    def agrees(self) -> bool:
        return abs(self.grown - self.stated) <= max(SHARE * self.stated, ROUGH)


def measure(package: Path, sizes: dict[str, int], small: Path) -> Measured:
    """One call in a process of its own. `small` is the package of the demo's model."""
    run = subprocess.run(
        [sys.executable, "-c", CHILD, str(package), json.dumps(sizes), str(small)],
        capture_output=True,
        text=True,
        check=True,
    )
    return Measured(*json.loads(run.stdout.splitlines()[-1]))


# Models, each with sizes to call it at -----------------------------------------------------------------------------------------
def _weight(name: str, *shape: int) -> SSAValue:
    values = np.random.default_rng(0).standard_normal(shape, np.float32) * np.float32(0.02)
    return g.weight(values, name=name)


def products() -> Module:
    """Weights above all: 96 MiB in panels."""
    m = g.module_builder("products")
    with m.function(inputs=[("x", ("N", 2048), "f32")]) as (x,):
        for number in range(6):
            x = g.relu(g.matmul(x, _weight(f"w{number}", 2048, 2048)))
        m.outputs([("y", x)])
    return m.finish()


def images() -> Module:
    """Activations above all, padded and of several widths."""
    m = g.module_builder("images")
    with m.function(inputs=[("x", ("N", 3, "H", "H"), "f32")]) as (x,):
        for number, (old, new) in enumerate([(3, 32), (32, 64), (64, 32)]):
            x = g.relu(g.convolution(x, _weight(f"w{number}", new, old, 3, 3), padding=[(1, 1), (1, 1)]))
        m.outputs([("y", x)])
    return m.finish()


def attention() -> Module:
    """Scores of S x S, and products without weights."""
    m = g.module_builder("attention")
    with m.function(inputs=[("x", ("N", "S", 256), "f32")]) as (x,):
        q, k, v = (g.matmul(x, _weight(name, 256, 256)) for name in "qkv")
        scores = g.softmax(g.matmul(q, g.transpose(k, [0, 2, 1])), 2)
        m.outputs([("y", g.matmul(scores, v)), ("scores", scores)])
    return m.finish()


def chain() -> Module:
    """Element by element: one kernel, whose result is the output."""
    m = g.module_builder("chain")
    with m.function(inputs=[("x", ("N",), "f32")]) as (x,):
        m.outputs([("y", g.exp(g.tanh(x))), ("total", g.reduce(x, [0], "sum"))])
    return m.finish()


BUILT: dict[str, tuple[Callable[[], Module], dict[str, int]]] = {
    "products": (products, {"N": 64}),
    "images": (images, {"N": 2, "H": 320}),
    "attention": (attention, {"N": 4, "S": 1024}),
    "chain": (chain, {"N": 16 * MIB}),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="*", type=Path, help="an .onnx file, or a package")
    parser.add_argument("--dim", action="append", default=[], metavar="N=8", help="sizes of the models given")
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    from mlc.cli import sizes as grammar
    from mlc.ir.sample_sizes import sample_binding

    fixed = grammar.fixed(args.dim)
    agree = True
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "small.mlc"
        mlc.compile(MODEL, threads=args.threads).save(small)
        print(f"{'':<24} {'grown':>10} {'stated':>10}   off    weights   arena  outputs (MiB)")
        jobs = [(path.name, path) for path in args.model] or [(name, name) for name in BUILT]
        for name, job in jobs:
            package = Path(folder) / "measured.mlc"
            if isinstance(job, str):
                build, at = BUILT[job]
                mlc.compile(build(), threads=args.threads).save(package)
            else:
                module = mlc.load(job)
                at = sample_binding(module, fixed, preferred=1)
                mlc.compile(module, threads=args.threads).save(package)
            found = measure(package, at, small)
            off = found.grown / found.stated - 1
            parts = "  ".join(f"{bytes / MIB:7.1f}" for bytes in (found.weights, found.arena, found.outputs))
            mark = "" if found.agrees else "   TOO FAR OFF"
            print(
                f"{name[:24]:<24} {found.grown / MIB:10.1f} {found.stated / MIB:10.1f} {off:+6.1%}  {parts}{mark}",
                flush=True,
            )
            agree &= found.agrees
    return int(not agree)


if __name__ == "__main__":
    sys.exit(main())
