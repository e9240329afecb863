"""Code for a GPU beside cuBLAS, cuDNN, PyTorch and torch.compile: one command, ten minutes.

    python -m benchmarks.gpu                         all parts, into benchmarks/results/<gpu>/gpu.md
    python -m benchmarks.gpu --only gemm rows --minutes 4
    python -m benchmarks.gpu --dry                   every part at tiny sizes, without PyTorch; nothing is written

Kernels are timed by the GPU's own events, in turns with PyTorch's, each behind work that overwrites the L2 cache and that is long enough for
the launch to be in the queue; the median counts. Operands are random. Errors are relative to the largest value of a result in float64.
Whole models and launches are timed by the clock of the host, a call with its end: that is what a caller waits for. What a part does not
get to within its minutes is left out, and said to be.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import mlc
from benchmarks.device_times import Session, error, tf32
from benchmarks.kernels import Case, convolution, rows
from benchmarks.run import markdown
from mlc.ir import builder as g
from mlc.ir.dtypes import TABLE
from mlc.ir.gpus import driver

RESULTS = Path(__file__).parent / "results"
PARTS = ("gemm", "convolutions", "rows", "models", "launches")
GEMM = (512, 1024, 2048, 4096, 8192)
PRECISIONS = {"f32": ("f32", "f32"), "tf32": ("f32", "tf32"), "bf16": ("bf16", "f32")}  # dtype of operands, of products
# Convolutions of ResNet-50, batch 1 as benchmarks.kernels has them: height, channels, output channels, window, stride.
LAYERS = (
    (224, 3, 64, 7, 2),
    (56, 64, 64, 3, 1),
    (56, 64, 256, 1, 1),
    (28, 128, 128, 3, 1),
    (14, 256, 256, 3, 1),
    (7, 512, 2048, 1, 1),
)
ROWS = ((8192, 768), (65536, 1024), (16384, 4096))
MODELS = ("resnet50", "bert", "vit_small", "mobilenet_v2", "gpt2")
CHAIN = 50  # kernels of the model whose launches are timed


# Parts ---------------------------------------------------------------------------------------------------------------
def gemm(s: Session) -> str:
    lines = []
    for size in (32,) if s.dry else GEMM:
        for name, (dtype, precision) in PRECISIONS.items():
            if s.late(f"gemm {size} {name}"):
                continue
            m = g.module_builder(f"gemm_{size}_{name}")
            with m.function(inputs=[("a", (size, size), dtype), ("b", (size, size), dtype)]) as (a, b):
                m.outputs([("c", g.matmul(a, b))])
            try:
                exe = s.compile(m.finish(), precision=precision)
            except mlc.MlcError as refused:
                lines.append([f"{size}", name, *["-"] * 4, refused.message])
                continue
            rng = np.random.default_rng(0)
            operands = [rng.standard_normal((size, size), np.float32).astype(TABLE[dtype].numpy) for _ in range(2)]
            there = [mlc.to_device(x) for x in operands]
            runs = {"mlc": s.ours(exe, *there)}
            if s.torch is None:
                want = operands[0].astype(np.float64) @ operands[1].astype(np.float64)
                times = s.device_times(runs)
            else:
                x, y = (s.torch.from_dlpack(array) for array in there)
                want = (x.double() @ y.double()).cpu().numpy()
                with tf32(s.torch, name == "tf32"):
                    times = s.device_times({**runs, "cublas": s.theirs(lambda x=x, y=y: x @ y)})
            lines.append([f"{size}", name, *rates(times, 2e-9 * size**3, "cublas"), error(exe(*there), want), ""])
    return markdown(["n", "type", "TFLOP/s", "cuBLAS", "of it", "error", ""], lines)


def rates(times: dict[str, float], work: float, peer: str) -> list[str]:
    """Work per millisecond of ours and of a peer, and the share."""
    ours = work / max(times["mlc"], 1e-9)
    if peer not in times:
        return [f"{ours:.1f}", "-", "-"]
    other = work / times[peer]
    return [f"{ours:.1f}", f"{other:.1f}", f"{100 * ours / other:.0f} %"]


def case_runs(s: Session, case: Case) -> tuple[mlc.Executable, list[Any], np.ndarray]:
    """Executable, arrays on the GPU, and what the row's reference gives in float64."""
    exe = s.compile(case.module())
    (want,) = case.row.expected(case.row.arrays(sizes=case.at))
    return exe, [mlc.to_device(x) for x in case.inputs], np.asarray(want, np.float64)


def convolutions(s: Session) -> str:
    lines = []
    for layer in ((8, 4, 8, 3, 1),) if s.dry else LAYERS:
        case = convolution(*layer, known=True)
        if s.late(case.name):
            continue
        exe, there, want = case_runs(s, case)
        runs = {"mlc": s.ours(exe, *there)}
        if s.torch is None:
            times = s.device_times(runs)
        else:
            with tf32(s.torch, False):
                times = s.device_times({**runs, "cudnn": s.theirs(cudnn(s.torch, *layer))})
        lines.append([case.name, *rates(times, case.work / 1e9, "cudnn"), error(exe(*there), want)])
    return markdown(["convolution, f32", "TFLOP/s", "cuDNN", "of it", "error"], lines)


def cudnn(torch: Any, height: int, channels: int, out: int, window: int, stride: int) -> Callable[[], Any]:
    """The convolution with channels last, by the algorithm that cuDNN measures as the fastest."""
    torch.backends.cudnn.benchmark = True
    x = torch.randn(1, channels, height, height, device="cuda").to(memory_format=torch.channels_last)
    w = torch.randn(out, channels, window, window, device="cuda").to(memory_format=torch.channels_last)
    return lambda: torch.nn.functional.conv2d(x, w, stride=stride, padding=window // 2)


def row_kernels(s: Session) -> str:
    lines = []
    for name in ("softmax", "layer_norm"):
        for count, columns in ((4, 8),) if s.dry else ROWS:
            case = rows(name, count, columns, True)
            if s.late(case.name):
                continue
            exe, there, want = case_runs(s, case)
            peers = {} if s.torch is None else row_peers(s.torch, name, count, columns)
            times = s.device_times(
                {"mlc": s.ours(exe, *there), **{peer: s.theirs(call) for peer, call in peers.items()}}, 0.5
            )
            speeds = {peer: case.work / 1e6 / max(took, 1e-9) for peer, took in times.items()}
            others = [f"{speeds[peer]:.0f}" if peer in speeds else "-" for peer in ("eager", "compile")]
            share = f"{100 * speeds['mlc'] / speeds['copy']:.0f} %" if "copy" in speeds else "-"
            lines.append([case.name, f"{speeds['mlc']:.0f}", *others, share, error(exe(*there), want)])
    return markdown(["rows, f32", "GB/s", "PyTorch", "torch.compile", "of a copy", "error"], lines)


def row_peers(torch: Any, name: str, count: int, columns: int) -> dict[str, Callable[[], Any]]:
    """PyTorch's own kernel, the one that torch.compile writes, and a copy of as many bytes."""
    functional = torch.nn.functional
    x, one = torch.randn(count, columns, device="cuda"), torch.ones(columns, device="cuda")
    eager = {
        "softmax": lambda x: functional.softmax(x, -1),
        "layer_norm": lambda x: functional.layer_norm(x, (columns,), one, one),
    }[name]
    compiled, y = torch.compile(eager), torch.empty_like(x)
    return {"eager": lambda: eager(x), "compile": lambda: compiled(x), "copy": lambda: y.copy_(x)}


def models(s: Session) -> str:
    heads = ["model", "ms", "in kernels", "kernels", "PyTorch", "torch.compile", "seconds to compile", "error"]
    return markdown(heads, [model_line(s, name) for name in (("digits",) if s.dry else MODELS)])


def model_line(s: Session, name: str) -> list[str]:
    if s.late(name):
        return [name, *["-"] * 7]
    source, feeds, peers = _model(s, name)
    start = time.perf_counter()
    try:
        exe = s.compile(source)
    except mlc.MlcError as refused:
        return [name, *["-"] * 6, refused.message]
    seconds = time.perf_counter() - start
    there = [mlc.to_device(feeds[spec.name]) for spec in exe.get_inputs()]
    took = s.wall(lambda: exe(*there))
    busy = s.ours(exe, *there)()
    others = [f"{s.wall(call):.2f}" for call in peers] or ["-", "-"]
    (got, *_) = exe.run(None, {spec.name: x for spec, x in zip(exe.get_inputs(), there, strict=True)})
    (want, *_) = mlc.compile(source).run(None, feeds)
    steps = f"{len(exe.plan.steps)}"
    return [name, f"{took:.2f}", f"{busy:.2f}", steps, *others, f"{seconds:.0f}", error(got, want.astype(np.float64))]


def _model(s: Session, name: str) -> tuple[Any, dict[str, np.ndarray], list[Callable[[], Any]]]:
    """Source, inputs by name, and PyTorch's calls: eager, and compiled with CUDA graphs."""
    if s.dry or s.torch is None:
        path = Path(mlc.__file__).parent / "demo" / "digits.onnx"
        return mlc.load(path), {"images": np.random.default_rng(0).random((1, 1, 8, 8), np.float32)}, []
    import tempfile

    from benchmarks.architectures import ARCHITECTURES
    from benchmarks.export import export

    made = ARCHITECTURES[name](False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.onnx"
        export(made, path, "legacy", symbolic=False)
        source = mlc.load(path)  # whose weights stay, though the file goes
    feeds = made.signature.feeds()
    torch, module = s.torch, made.module.cuda().eval()
    given = [torch.from_numpy(array).cuda() for array in feeds.values()]
    compiled = torch.compile(module, mode="reduce-overhead")

    def call(run: Callable[..., Any]) -> Callable[[], Any]:
        def ended() -> None:
            with torch.inference_mode(), tf32(torch, False):
                run(*given)
            torch.cuda.synchronize()

        return ended

    return source, feeds, [call(module), call(compiled)]


def launches(s: Session) -> str:
    """A chain of small products, by a recording and launch by launch."""
    count = 2 if s.dry else CHAIN
    m = g.module_builder("chain")
    rng = np.random.default_rng(0)
    with m.function(inputs=[("x", (16, 64), "f32")]) as (x,):
        for number in range(count):
            w = (rng.standard_normal((64, 64)) / 8).astype(np.float32)
            x = g.tanh(g.matmul(x, g.weight(w, name=f"w{number}")))
        m.outputs([("y", x)])
    module = m.finish()
    there = mlc.to_device(rng.standard_normal((16, 64)).astype(np.float32))
    lines = [launch_line(s, module, there, *how) for how in (("a CUDA graph", "16"), ("launch by launch", "0"))]
    return markdown([f"{count} products of 16 x 64 x 64", "kernels", "us a call", "us a kernel"], lines)


def launch_line(s: Session, module: mlc.Module, there: Any, label: str, graphs: str) -> list[str]:
    """`graphs`: of MLC_CUDA_GRAPHS, which an executable reads when it is made."""
    before = os.environ.get("MLC_CUDA_GRAPHS")
    os.environ["MLC_CUDA_GRAPHS"] = graphs
    try:
        exe = s.compile(module)
    finally:
        del os.environ["MLC_CUDA_GRAPHS"]
        if before is not None:
            os.environ["MLC_CUDA_GRAPHS"] = before
    took, kernels = s.wall(lambda: exe(there)), len(exe.plan.steps)
    return [label, f"{kernels}", f"{1e3 * took:.0f}", f"{1e3 * took / kernels:.1f}"]


_RUN = {"gemm": gemm, "convolutions": convolutions, "rows": row_kernels, "models": models, "launches": launches}
_SHARE = {"gemm": 0.3, "convolutions": 0.15, "rows": 0.15, "models": 0.35, "launches": 0.05}  # of the minutes


def pytorch() -> Any:
    try:
        import torch
    except ImportError:
        return None
    return torch if torch.cuda.is_available() else None


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--minutes", type=float, default=9, help="for all parts together")
    parser.add_argument("--dry", action="store_true", help="tiny sizes, once, without PyTorch; writes nothing")
    args = parser.parse_args(arguments)
    found = driver()
    if not found.gpus:
        raise SystemExit(f"there is no NVIDIA GPU: {found.error or 'the driver shows none'}")
    s = Session(args.dry, found.gpus[0], None if args.dry else pytorch())
    parts = [
        f"# {s.gpu}, driver for CUDA {found.version}\n",
        f"mlc {mlc.__version__}{_versions(s)}. Made by `python -m benchmarks.gpu`, whose text says how.\n",
    ]
    total = sum(_SHARE[part] for part in args.only)
    for part in args.only:
        s.until = time.monotonic() + 60 * args.minutes * _SHARE[part] / total
        text = _RUN[part](s)
        print(text, flush=True)
        parts.append(text)
    if s.left_out:
        parts.append(f"Left out for want of time: {', '.join(s.left_out)}.\n")
        print(parts[-1])
    if not args.dry:
        path = RESULTS / s.gpu.name.lower().replace(" ", "-") / "gpu.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(parts))
        print(f"wrote {path}")


def _versions(s: Session) -> str:
    return f", PyTorch {s.torch.__version__} (CUDA {s.torch.version.cuda})" if s.torch is not None else ", no PyTorch"


if __name__ == "__main__":
    main()
