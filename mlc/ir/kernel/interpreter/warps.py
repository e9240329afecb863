"""Products of tensor cores: the lanes of each warp of a block, 32 neighbouring threads, put their registers together."""

from __future__ import annotations

import numpy as np

from mlc.errors import InternalError
from mlc.ir.kernel.interpreter.engine import Action, Compiler, Frame, steps
from mlc.ir.kernel.interpreter.memory import label
from mlc.ir.kernel.interpreter.thread_blocks import GridCompiler, Team, TeamAction, team_steps
from mlc.ir.kernel.tensor_cores import FragmentOp, MmaOp
from mlc.ir.types import numpy_dtype

LANES = 32


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
