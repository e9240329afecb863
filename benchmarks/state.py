"""What state saves: microseconds of a call that gives all arrays, and of one whose state stays with the executable. In turns, best of them.

    python -m benchmarks.state                         500 parameters, 200 tokens
    python -m benchmarks.state --parameters 100 --tokens 1000

step     one update of many small parameters, which live in the arrays of the caller or in the state
decoder  the miniature of GPT-2 with a cache, token after token from an empty cache: every call has sizes that were not met before
append   what a call and its caches cost beside the model: the cache alone, at lengths up to the number of tokens

"in place" is the pass grow-in-place: state whose new rows are written behind the old ones.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

import mlc
from mlc.ir import builder as g
from mlc.runtime.executable import Executable
from mlc.runtime.state import Stateful

MINIATURE = Path(__file__).parent.parent / "tests" / "onnx_models" / "gpt2_cache.symbolic.dynamo.onnx"
GROW = "grow-in-place{results=present*},default"
TURNS = 7


def step(parameters: int) -> dict[str, float]:
    """Microseconds of one call: w - x / 8 for each of the parameters, and the sum of x."""
    m = g.module_builder("step")
    with m.function(inputs=[*((f"w{n}", (64,), "f32") for n in range(parameters)), ("x", (64,), "f32")]) as (*ws, x):
        by = g.mul(x, g.full_like(x, 0.125))
        new = [(f"new{n}", g.sub(w, by)) for n, w in enumerate(ws)]
        m.outputs([("sum", g.reduce(x, [0], "sum")), *new], {f"new{n}": f"w{n}" for n in range(parameters)})
    exe = mlc.compile(m.finish(), threads=1)
    assert isinstance(exe, Executable)
    arrays = [np.zeros(64, np.float32) for _ in range(parameters)]
    kept = exe.with_state(initial={f"w{n}": w for n, w in enumerate(arrays)})
    batch = np.ones(64, np.float32)
    return best({"arrays": lambda: exe(*arrays, batch), "state": lambda: kept(batch)}, 100)


def decoder(tokens: int) -> dict[str, float]:
    """Microseconds per token."""
    exe, grown = (mlc.compile(MINIATURE, threads=1, passes=passes) for passes in (None, GROW))
    assert isinstance(exe, Executable)
    assert isinstance(grown, Executable)
    names = [spec.name for spec in exe.plan.outputs]
    pairs = {spec.name: spec.name.replace("past_key_values", "present") for spec in exe.plan.inputs[1:]}
    empty, ids = _empty(exe, list(pairs)), np.zeros((1, 1), np.int64)

    def by_hand() -> None:
        caches = empty
        for _ in range(tokens):
            found = dict(zip(names, exe.run(None, {"input_ids": ids, **caches}), strict=True))
            caches = {past: found[present] for past, present in pairs.items()}

    return _per_token(
        by_hand, exe.with_state(pairs, empty), grown.with_state(pairs, _empty(grown, list(pairs))), ids, tokens
    )


def _empty(exe: Executable, names: list[str]) -> dict[str, np.ndarray]:
    """Caches of one sequence without a token."""
    shapes = {spec.name: spec.shape for spec in exe.plan.inputs if spec.name in names}
    return {
        name: np.zeros([e if isinstance(e, int) else int(str(e) == "N") for e in shape], np.float32)
        for name, shape in shapes.items()
    }


def append(tokens: int) -> dict[str, float]:
    """Microseconds per row of 768 floats."""
    m = g.module_builder("append")
    with m.function(inputs=[("past", ("P", 768), "f32"), ("x", (1, 768), "f32")]) as (past, x):
        m.outputs([("present", g.concatenate([past, x], 0)), ("last", g.neg(x))])
    module = m.finish()
    exe, grown = (mlc.compile(module, threads=1, passes=passes) for passes in (None, GROW))
    assert isinstance(exe, Executable)
    assert isinstance(grown, Executable)
    empty, row = np.zeros((0, 768), np.float32), np.ones((1, 768), np.float32)

    def by_hand() -> None:
        cache = empty
        for _ in range(tokens):
            cache, _last = exe(cache, row)

    pairs, first = {"past": "present"}, {"past": empty}
    return _per_token(by_hand, exe.with_state(pairs, first), grown.with_state(pairs, first), row, tokens)


def _per_token(
    by_hand: Callable[[], None], kept: Stateful, grown: Stateful, given: np.ndarray, tokens: int
) -> dict[str, float]:
    def with_state(state: Stateful) -> None:
        state.reset()
        for _ in range(tokens):
            state(given)

    calls = {"arrays": by_hand, "state": partial(with_state, kept), "in place": partial(with_state, grown)}
    return {name: spent / tokens for name, spent in best(calls, 1).items()}


def best(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Microseconds of one call of each, in turns."""
    found = dict.fromkeys(calls, float("inf"))
    for _ in range(TURNS):
        for name, call in calls.items():
            start = time.perf_counter()
            for _ in range(repeats):
                call()
            found[name] = min(found[name], (time.perf_counter() - start) / repeats * 1e6)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.state", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parameters", type=int, default=500)
    parser.add_argument("--tokens", type=int, default=200)
    args = parser.parse_args()
    rows = {"step": step(args.parameters), "decoder": decoder(args.tokens), "append": append(args.tokens)}
    for name, row in rows.items():
        print(f"{name:8}", *(f"  {what} {spent:8.1f} us" for what, spent in row.items()))


if __name__ == "__main__":
    main()
