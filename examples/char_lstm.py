"""A language model of characters: an LSTM learns the Zen of Python, by truncated back-propagation through time.

    python examples/char_lstm.py                   400 steps, then a text that it writes
    python examples/char_lstm.py --steps 1000 --window 16

The text ships with Python (module `this`). It is cut into as many rows as a batch has, and the network reads all rows from left to right, `window` characters per step. The
state of the LSTM goes on from step to step, its derivative does not: what is back-propagated is truncated at the beginning of the window.
"""

from __future__ import annotations

import argparse
import codecs
import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np

import mlc
from mlc import Tensor, nn
from mlc.data import Monitor
from mlc.optim import Adam, ClipByNorm, Cosine

ROWS = 8


def zen() -> str:
    with contextlib.redirect_stdout(io.StringIO()):  # the module prints itself when it is imported first
        import this
    return codecs.decode(this.s, "rot13")


class CharLSTM(nn.Module):
    """Logits of the next character behind each of x [window, rows], and the state behind the last."""

    def __init__(self, characters: int, hidden: int):
        self.embedding = nn.Embedding(characters, 16)
        self.lstm = nn.LSTM(16, hidden)
        self.head = nn.Linear(hidden, characters)

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        found, state = self.lstm(self.embedding(x), state)
        return self.head(found), state


def zeros(rows: int, hidden: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((1, rows, hidden), np.float32), np.zeros((1, rows, hidden), np.float32)


def loss_of(prediction: tuple[Tensor, Any], target: Tensor) -> tuple[Tensor, Any]:
    """(loss, state): the state comes out of a step beside the loss, as numbers without a past."""
    logits, state = prediction
    return nn.cross_entropy(logits, target), state


def windows(codes: np.ndarray, window: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs (characters, next characters) [window, ROWS], in the order in which they are read."""
    length = (len(codes) - 1) // ROWS
    rows, following = (codes[k : k + ROWS * length].reshape(ROWS, length).T for k in (0, 1))
    return [(rows[t : t + window], following[t : t + window]) for t in range(0, length - window + 1, window)]


def generate(step: Any, characters: list[str], hidden: int, start: str, length: int, temperature: float = 0.3) -> str:
    """A text of the network's own: each character is drawn by the logits, and is then read."""
    random, state, text = np.random.default_rng(0), zeros(1, hidden), start
    for n in range(len(start) + length - 1):
        logits, state = step.evaluate(np.array([[characters.index(text[n])]]), state)
        if n + 1 == len(text):
            p = np.exp(np.asarray(logits, np.float64)[0, 0] / temperature)
            text += characters[random.choice(len(characters), p=p / p.sum())]
    return text


def main(arguments: list[str] | None = None) -> float:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--window", type=int, default=25, help="steps in time that a gradient sees")
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--plot", type=Path, metavar="loss.png", help="write the losses as a picture, by matplotlib")
    args = parser.parse_args(arguments)

    # 1. The text, as numbers of characters.
    text = zen()
    characters = sorted(set(text))
    codes = np.array([characters.index(c) for c in text])
    if args.steps < 1 or not 1 <= args.window <= len(codes) // ROWS - 1:
        parser.error(f"a step at least, and a window of 1 to {len(codes) // ROWS - 1} characters")
    batches = windows(codes, args.window)

    # 2. The model, and a step of its training. Long products of derivatives may explode: gradients are clipped.
    nn.seed(0)
    step = mlc.train_step(
        CharLSTM(len(characters), args.hidden), loss_of, ClipByNorm(Adam(Cosine(1e-2, args.steps)), 1.0)
    )

    # 3. Training: the state begins at zero in each pass over the text.
    with Monitor(args.steps, unit="characters", plot=args.plot) as monitor:
        for n in range(args.steps):
            x, y = batches[n % len(batches)]
            if n % len(batches) == 0:
                state, losses = zeros(ROWS, args.hidden), []
            loss, state = step(x, state, y)
            losses.append(loss.item())
            monitor.update(losses[-1], y.size)
            if n % 100 == 99 or n == args.steps - 1:
                monitor.say(f"step {n + 1:4}  loss {np.mean(losses):.3f} nats per character")

    # 4. What it has learned.
    print(generate(step, characters, args.hidden, "The Zen", 120))
    return float(np.mean(losses))


if __name__ == "__main__":
    main()
