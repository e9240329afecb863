"""A small Transformer writes like Python's documentation, character by character.

    python examples/tiny_transformer.py                 1,500 steps, then some text of its own
    python examples/tiny_transformer.py --steps 300
    mpiexec -n 4 python -m mpi4py examples/tiny_transformer.py --mpi

The text is what `help("topics")` shows (module pydoc_data ships with Python; some hundred thousand characters). Two blocks of causal attention read 64 characters and predict the next of each;
the last tenth of the text, which is not trained on, is the test. The generator keeps keys and values of what it has read, so that each character costs one step.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

import mlc
from mlc import Tensor, nn
from mlc.data import Monitor
from mlc.optim import AdamW, ClipByNorm, Cosine, Warmup

CONTEXT, ROWS, SIZE, HEADS, BLOCKS = 64, 32, 64, 4, 2


def documentation() -> str:
    """Of ASCII alone, the most frequent part of it."""
    from pydoc_data.topics import topics

    return "".join(c for c in "\n".join(topics[name] for name in sorted(topics)) if c == "\n" or " " <= c <= "~")


class Transformer(nn.Module):
    """Logits of the next character behind each of x [rows, length]; with caches, those of the blocks, also the caches behind it."""

    def __init__(self, characters: int):
        self.embedding = nn.Embedding(characters, SIZE)
        rotary = nn.RotaryEncoding(SIZE // HEADS)
        self.blocks = [
            nn.TransformerEncoderBlock(SIZE, HEADS, 4 * SIZE, norm_first=True, rotary=rotary) for _ in range(BLOCKS)
        ]
        self.norm = nn.LayerNorm(SIZE)
        self.head = nn.Linear(SIZE, characters)

    def forward(self, x: Tensor, caches: Any = None) -> Any:
        x, after = self.embedding(x), []
        for n, block in enumerate(self.blocks):
            if caches is None:
                x = block(x, causal=True)
            else:
                x, cache = block(x, cache=caches[n])
                after.append(cache)
        logits = self.head(self.norm(x))
        return logits if caches is None else (logits, after)


def batch(codes: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows from anywhere in the text, and the same a character later."""
    starts = random.integers(0, len(codes) - CONTEXT, ROWS)[:, None] + np.arange(CONTEXT)
    return codes[starts], codes[starts + 1]


def generate(net: Transformer, characters: list[str], start: str, length: int) -> str:
    """`length` characters behind the start, at most CONTEXT in all; each is drawn by the logits."""
    random, text = np.random.default_rng(0), start
    read = mlc.jit(lambda x, caches: net(x, caches))
    caches = [block.self_attn.empty_cache(batch=1, capacity=CONTEXT) for block in net.blocks]
    for n in range(len(start) + length - 1):
        logits, caches = read(np.array([[characters.index(text[n])]]), caches)
        if n + 1 == len(text):
            p = np.exp(np.asarray(logits, np.float64)[0, 0] / 0.5)
            text += characters[random.choice(len(characters), p=p / p.sum())]
    return text


def joined() -> mlc.dist.DataParallel:
    """The ranks; but the first are silent from here on."""
    mlc.dist.init("mpi")
    if mlc.dist.rank() > 0:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  it stays open
    return mlc.dist.data()


def main(arguments: list[str] | None = None) -> float:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--plot", type=Path, metavar="loss.png", help="write the losses as a picture, by matplotlib")
    parser.add_argument("--mpi", action="store_true", help="on the ranks that mpiexec has started, each with its rows")
    args = parser.parse_args(arguments)
    parallel = joined() if args.mpi else None

    # 1. The text, as numbers of characters.
    text = documentation()
    characters = sorted(set(text))
    codes = np.searchsorted(np.array(characters), np.array(list(text)))
    train, test = codes[: len(codes) * 9 // 10], codes[len(codes) * 9 // 10 :]

    # 2. The model, and a step of its training.
    nn.seed(0)
    net = Transformer(len(characters))
    rate = Warmup(Cosine(3e-3, args.steps), args.steps // 20)
    step = mlc.train_step(net, "cross_entropy", ClipByNorm(AdamW(rate, weight_decay=0.01), 1.0), parallel=parallel)
    mine = slice(None) if parallel is None else parallel.part(ROWS, "a batch")

    # 3. Training.
    random, losses = np.random.default_rng(0), []
    with Monitor(args.steps, unit="characters", plot=args.plot) as monitor:
        for n in range(1, args.steps + 1):
            x, y = batch(train, random)
            losses.append(step(x[mine], y[mine]).item())
            monitor.update(losses[-1], ROWS * CONTEXT)
            if n % 250 == 0 or n == args.steps:
                monitor.say(f"step {n:4}  loss {np.mean(losses[-250:]):.3f} nats per character")

    # 4. The test, and a text of its own.
    random = np.random.default_rng(1)
    rows = [batch(test, random) for _ in range(20)]
    found = np.mean([nn.cross_entropy(step.evaluate(x), y).item() for x, y in rows])
    print(f"test {found:.3f} nats per character")
    print(generate(step.trained(), characters, "The method ", 53))
    return float(found)


if __name__ == "__main__":
    main()
