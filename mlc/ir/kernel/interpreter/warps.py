"""What the lanes of each warp of a block, 32 neighbouring threads, do together: products of tensor cores, folds."""

from __future__ import annotations

import numpy as np

from mlc.errors import InternalError
from mlc.ir.kernel.interpreter.engine import Action, Compiler, Frame, steps
from mlc.ir.kernel.interpreter.memory import label
from mlc.ir.kernel.interpreter.thread_blocks import GridCompiler, Team, TeamAction, team_steps
from mlc.ir.kernel.tensor_cores import FragmentOp, MmaOp
from mlc.ir.kernel.warp_ops import LANES, FoldLanesOp, PairOp, SyncWarpOp
from mlc.ir.types import numpy_dtype


@steps("kernel.fragment")
def _fragment(c: Compiler, op: FragmentOp) -> Action:
    numbers, result, kind = c.slots(op.numbers), c.slot(op.result), op.instruction.data.rpartition("_")[2]

    def step(frame: Frame) -> None:
        found = np.array([frame[slot] for slot in numbers], np.float32)
        if len(found) == 1:
            bits = found.view(np.uint32)
            whole = (bits & np.uint32(0x7F800000)) == np.uint32(0x7F800000)
            frame[result] = np.where(whole, bits, bits + np.uint32(0x1000) & np.uint32(0xFFFFE000)).view(np.int32)[0]
        else:
            frame[result] = found.astype(numpy_dtype(kind)).view(np.int32)[0]

    return step


@team_steps("kernel.mma")
def _product(c: GridCompiler, op: MmaOp) -> TeamAction:
    slots, kind = c.slots([op.total, op.lhs, op.rhs]), op.instruction.data.rpartition("_")[2]
    lane = np.arange(LANES)
    group, member = lane // 4, lane % 4

    def numbers(registers: np.ndarray) -> np.ndarray:
        """[lane, register, number of the register]"""
        if kind == "tf32":
            return (registers & np.int32(-0x2000)).view(np.float32)[..., None]
        return registers.view(numpy_dtype(kind)).reshape(*registers.shape, 2).astype(np.float32)

    def run(team: Team) -> None:
        if len(team) % LANES:
            raise InternalError(f"{label(op)}: {len(team)} threads are no whole warps")
        for first in range(0, len(team), LANES):
            views = [[frame[slot] for frame in team[first : first + LANES]] for slot in slots]
            total, lhs, rhs = (np.array([view.array() for view in row]) for row in views)
            a, b = numbers(lhs), numbers(rhs)
            wide = a.shape[-1]
            rows, columns = np.zeros((16, 8 * wide), np.float32), np.zeros((8 * wide, 8), np.float32)
            for e in range(wide):
                for i in range(4):
                    rows[group + 8 * (i % 2), wide * member + e + 4 * wide * (i // 2)] = a[:, i, e]
                for i in range(2):
                    columns[wide * member + e + 4 * wide * i, group] = b[:, i, e]
            product = rows.astype(np.float64) @ columns
            for i in range(4):
                total[:, i] += product[group + 8 * (i // 2), 2 * member + i % 2].astype(np.float32)
            for view, values in zip(views[0], total, strict=True):
                view.array()[...] = values

    return run


@team_steps("kernel.fold_lanes")
def _fold_lanes(c: GridCompiler, op: FoldLanesOp) -> TeamAction:
    x, result, count = c.slot(op.x), c.slot(op.result), op.lanes.value.data
    fold = np.maximum if op.kind.data == "max" else np.add

    def run(team: Team) -> None:
        values = np.array([frame[x] for frame in team], np.float32).reshape(-1, count)
        apart = 1
        while apart < count:  # every lane adds what it has to what its partner has
            values = fold(values, values[:, np.arange(count) ^ apart])
            apart *= 2
        for frame, value in zip(team, values.ravel(), strict=True):
            frame[result] = value

    return run


@team_steps("kernel.sync_warp")
def _sync_warp(c: GridCompiler, op: SyncWarpOp) -> TeamAction:
    """Warps are told apart by nobody here: what orders the lanes of one is taken to order a block."""
    return lambda team: c.next_phase()


@steps("kernel.pair")
def _pair(c: Compiler, op: PairOp) -> Action:
    memory, at, result = c.slot(op.memory), c.slots(op.indices), c.slot(op.result)
    watched = c.machine.watched

    def step(frame: Frame) -> None:
        view = frame[memory]
        where = view.run([frame[slot] for slot in at], 2, 2, op)
        if watched:
            view.storage.read(np.arange(where.start, where.start + 2), 2)
        frame[result] = view.elements[where].copy().view(np.int32)[0]

    return step
