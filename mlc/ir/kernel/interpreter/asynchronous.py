"""Copies that go on while a thread computes: here they land at once. mlc/testing has them land late too."""

from __future__ import annotations

import numpy as np

from mlc.ir.kernel.async_copies import AwaitCopiesOp, CommitCopiesOp, CopyAsyncOp
from mlc.ir.kernel.interpreter.engine import Action, Compiler, Frame, steps


@steps("kernel.copy_async")
def _copy_async(c: Compiler, op: CopyAsyncOp) -> Action:
    source, at, target, to = c.slot(op.source), c.slots(op.at), c.slot(op.target), c.slots(op.to)
    valid, count, watched = c.slot(op.valid), op.elements.value.data, c.machine.watched

    def step(frame: Frame) -> None:
        there = int(frame[valid])
        place = frame[target].run([frame[slot] for slot in to], count, count, op)
        found = np.zeros(count, frame[target].elements.dtype)
        if there:
            where = frame[source].run([frame[slot] for slot in at], count, there, op)
            if watched:
                frame[source].storage.read(np.arange(where.start, where.start + there), there)
            found[:there] = frame[source].elements[where.start : where.start + there]
        if watched:
            frame[target].storage.wrote(np.arange(place.start, place.start + count), count)
        frame[target].elements[place] = found

    return step


@steps("kernel.commit_copies", "kernel.await_copies")
def _nothing(c: Compiler, op: CommitCopiesOp | AwaitCopiesOp) -> Action:
    return lambda frame: None
