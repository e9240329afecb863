"""Pages of `mlc view` in a browser: each walks through all of itself, without an error.

    python -m benchmarks.view                     the bundled model, and a graph of 20,000 nodes
    python -m benchmarks.view model.onnx ...      other models
    python -m benchmarks.view --times             and holds times against limits, which asks for a quiet machine
    python -m benchmarks.view --pictures DIR      and pictures of their tabs, to be looked at

ready: from the start of the page to its first picture; pan: a frame while the picture is moved, all boxes open; whole: the same with all of the
graph in view; linked: lines of assembly of vector kernels that name a line of LLVM IR; sums: of kernels, nodes and modules against a whole call.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import mlc
from benchmarks.browser import Browser, found
from mlc.cli import main as command
from mlc.insight.view.recorder import Recorder, page
from mlc.ir import builder as g
from mlc.passes.manager import PassManager

NODES = 20_000
READY = {"small": 1000, "large": 2000}  # milliseconds
PAN, SUMS = 30, 0.05
CALL = 10_000  # nanoseconds that a call from Python may take beside its kernels, more than 5 % of a tiny model's
SMALL = 5000  # nodes


def large_page(path: Path, nodes: int = NODES) -> None:
    """Blocks of 20 ops, some of which read what was made long before, through passes that leave most of them alone."""
    builder = g.module_builder("main")
    with builder.function(inputs=[("x", ("N", 8), "f32")]) as (x,):
        first, value = x, x
        for number in range(nodes // 20):
            with g.location(f"block.{number // 50}.{number}", file="large.py", index=number):
                side = value
                for _ in range(9):
                    value = g.tanh(g.add(value, side))
                value = g.add(g.mul(value, first), side)
        builder.outputs([("y", value)])
    module = builder.finish()
    recorder = Recorder(page(path, "large"), "large")
    manager = PassManager("decompose,cse,simplify,dce")
    manager.started = lambda started: recorder.begin(started, "")
    manager.callback = lambda _, done, changed: recorder.after(done, manager.records[-1], changed)
    manager.run(module)


def walk(browser: Browser, path: Path, pictures: Path | None, seconds: float = 110) -> dict:
    """What the page says of itself after its walk."""
    ready = [browser.open(path).wait("document.body?.dataset.ready ?? null", 30) for _ in range(3)]
    shown = browser.open(path, "?selftest")
    found = json.loads(shown.wait("document.body?.dataset.selftest ?? null", seconds))
    found["ready"] = min(map(float, ready))  # a busy machine only adds to it
    found["nodes"] = shown.value(
        "Math.max(...[...document.querySelectorAll('.strip button')].map((b) => +b.title.match(/: (\\d+) ops/)[1]))"
    )
    if pictures is not None:
        for tab in ("graph", "kernels", "memory", "time") if found["kernels"] else ("graph",):
            for dark in (False, True) if tab == "graph" else (False,):
                name = f"{path.stem}-{tab}{'-dark' if dark else ''}.png"
                shown = browser.open(path, f"#{tab}")
                shown.wait("document.body?.dataset.ready ?? null", 30)
                time.sleep(0.5)
                content = shown.picture(pictures / name, dark)
                assert len(content) > 20_000, f"{name} is blank"
    return found


def late(found: dict) -> list[str]:
    """What takes longer than it may, or than its parts do."""
    wrong = [f"{name}: {ms:.0f} ms a frame" for name, ms in found["frames"] if ms > PAN]
    if found["ready"] > (limit := READY["small" if found["nodes"] < SMALL else "large"]):
        wrong.append(f"ready after {found['ready']:.0f} ms, not {limit}")
    sums = found.get("sums")
    if sums and abs(sums["end_to_end"] - sums["steps"]) > max(SUMS * sums["end_to_end"], CALL):
        wrong.append(f"kernels take {sums['steps'] / sums['end_to_end']:.2f} of a whole call")
    return wrong


def problems(found: dict, size: int) -> list[str]:
    wrong = [f"error: {text.splitlines()[0]}" for text in found["errors"]]
    if found["nodes"] < SMALL and size > 1e6:
        wrong.append(f"{size / 1e6:.2f} MB")
    if found["lines"] and found["linked"] < 0.85 * found["lines"]:
        wrong.append(f"{found['linked'] / found['lines']:.0%} of assembly linked")
    if sums := found.get("sums"):
        for name in ("kernels", "nodes", "modules"):
            if abs(sums[name] - sums["steps"]) > 1e-3 * sums["steps"]:
                wrong.append(f"times of {name} do not add up")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*")
    parser.add_argument("--times", action="store_true", help="hold times against limits")
    parser.add_argument("--pictures", type=Path)
    args = parser.parse_args()
    if args.pictures:
        args.pictures.mkdir(parents=True, exist_ok=True)
    if found() is None:
        print("there is no browser, so that no page is opened: apt-get install chromium")
        return
    failed = False
    with tempfile.TemporaryDirectory(prefix="mlc-view-") as folder, Browser() as browser:
        made = []
        for name in args.models or [str(Path(mlc.__file__).parent / "demo/digits.onnx")]:
            path = Path(folder, Path(name).stem + ".html")
            assert command(["view", name, "-o", str(path), "-q"]) == 0
            made.append(path)
        if not args.models:
            made.append(Path(folder, "large.html"))
            large_page(made[-1])
        print(
            f"{'page':<24} {'KB':>6} {'nodes':>6} {'ready ms':>9} {'pan ms':>7} {'whole ms':>9} {'linked':>7} {'sums':>7}"
        )
        for path in made:
            size = path.stat().st_size
            seen = walk(browser, path, args.pictures)
            frames = dict(seen["frames"])
            linked = f"{seen['linked'] / seen['lines']:.0%}" if seen["lines"] else ""
            sums = seen.get("sums")
            share = f"{sums['steps'] / sums['end_to_end']:.2f}" if sums else ""
            print(
                f"{path.stem:<24} {size / 1e3:>6.0f} {seen['nodes']:>6} {seen['ready']:>9.0f} {frames.get('near', 0):>7.1f} "
                f"{frames.get('whole', 0):>9.1f} {linked:>7} {share:>7}"
            )
            for text in problems(seen, size) + (late(seen) if args.times else []):
                failed = True
                print(f"    {text}")
    raise SystemExit(failed)


if __name__ == "__main__":
    main()
