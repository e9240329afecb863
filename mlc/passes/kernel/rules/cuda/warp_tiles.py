"""Products by tensor cores: tiles of both operands in shared memory, a tile of the result in the registers of each warp.

    Level(m = 128 block.x, n = 128 block.y) | Level(k = 32; A -> workgroup+4 async 2; B -> workgroup+8 async 2)
    | Level(m = 64 thread.z, n = 32 thread.y) | Mma(m16n8k8_tf32) | resident 2

Operands of f16 and bf16 get the instruction of their type: their products are exact in f32, in which they are summed. Operands of f32 are rounded
to tf32 or bf16 where the target's precision says so, and never else. Rows of a staged tile are as long as the lanes of a warp, which read
four or eight rows at once, find each in banks of its own. Two tiles have room: one is copied while the other is multiplied. Windows of images and single rows are left to the ordinary cores.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod
from typing import get_args

from xdsl.dialects.builtin import f32

from mlc.ir.kernel.cuda_target import CudaTarget
from mlc.ir.kernel.kernel import element_bytes, loops_of, type_of
from mlc.ir.kernel.schedule import Binding, Instruction, Level, Mma, Online, Schedule, Stage, multiplied
from mlc.passes.kernel.rules.cuda.contraction import Product, across, buffered, size
from mlc.passes.kernel.rules.loop_facts import LoopFacts, OperandFacts
from mlc.passes.loops.tensor_core_leaf import multiplies

BUFFERS = 2  # of a tile: one in use, one under way
ROW = 128  # bytes of products of a row of a tile: what the banks take at once
BANKS = 32  # numbers that shared memory gives or takes in a cycle
INSTRUCTIONS: dict[str, Instruction] = {multiplied(instruction): instruction for instruction in get_args(Instruction)}


@dataclass(frozen=True)
class WarpShape:
    """A block of `down` x `across` warps with a tile of m x n each."""

    down: int
    across: int
    m: int
    n: int

    @property
    def rows(self) -> int:
        return self.down * self.m

    @property
    def columns(self) -> int:
        return self.across * self.n

    @property
    def warps(self) -> int:
        return self.down * self.across

    @property
    def resident(self) -> int:
        """Blocks that fit: a lane holds its part of the tile, fragments and places in 64 registers more."""
        registers = 64 + self.m * self.n // 32
        return max(1, min(8, (64 << 10) // (registers * 32 * self.warps)))


SHAPES = (
    WarpShape(2, 4, 64, 32),
    WarpShape(2, 2, 64, 32),
    WarpShape(1, 4, 64, 32),
    WarpShape(2, 2, 32, 32),
    WarpShape(1, 4, 32, 32),
    WarpShape(2, 2, 16, 16),
    WarpShape(1, 4, 16, 32),
)


def tensor_cores(group: LoopFacts, target: CudaTarget) -> Schedule | None:
    """[batch] m n k, with operands of one type; None where there is no leave to round them, or no product of two matrices."""
    product = Product.of(group)
    if product is None or (instruction := instruction_of(product, target)) is None:
        return None
    if product.is_window() or len(product.rows) != 1 or not product.sums or 0 in group.loops.values():
        return None
    names = product.name(product.other), product.name(product.panel)
    if None in names or names[0] == names[1] or not multiplies(group.ops[product.number]):
        return None
    shape = min(SHAPES, key=lambda shape: (time(product, shape, instruction, target), -shape.rows * shape.columns))
    return tiled(product, shape, instruction)


def instruction_of(product: Product, target: CudaTarget) -> Instruction | None:
    """What multiplies operands of the product's types; None where nothing may."""
    types = {type_of(operand.value).element_type for operand in (product.panel, product.other)}
    if len(types) != 1 or type_of(product.result.value).element_type != f32:
        return None
    (type,) = types
    return INSTRUCTIONS.get(target.precision if type == f32 else str(type))


def says(group: LoopFacts, schedule: Schedule, target: CudaTarget) -> list[str]:
    """In which precision a kernel's products are taken, where that is a question: on tensor cores, or with leave to use them."""
    leaf = schedule.leaf
    if isinstance(leaf, Mma | Online) and leaf.instruction:
        type = multiplied(leaf.instruction)
        product = next(number for number, op in enumerate(group.ops) if multiplies(op))
        rounded = type_of(group.used(product)[0].value).element_type == f32
        what = f"f32 operands rounded to {type}" if rounded else f"{type} operands as they are"
        return [f"products on tensor cores, {what}, sums in f32"]
    sums = [n for n, op in enumerate(group.ops) if group.is_product(n) and group.reduced & loops_of(op).keys()]
    if target.precision != "f32" and sums:
        return [f"products in the operands' own type, not in {target.precision}: no product of two matrices"]
    return []


def tiled(product: Product, shape: WarpShape, instruction: Instruction) -> Schedule:
    (m,), n = product.rows, product.n
    lhs, rhs = product.name(product.other), product.name(product.panel)
    assert lhs is not None and rhs is not None
    depth = depths(product, instruction)
    stages = buffered(product, {lhs: staged(product, m, instruction), rhs: staged(product, n, instruction)}, depth)
    blocks: dict[str, Binding] = {**dict.fromkeys(product.batch, "block.x"), m: "block.x"}
    blocks[n] = across(product, shape.columns)
    levels = (
        Level({**dict.fromkeys(product.batch, 1), m: shape.rows, n: shape.columns}, blocks),
        Level(depth, stage=stages),
        Level({m: shape.m, n: shape.n}, {m: "thread.z", n: "thread.y"}),
    )
    return Schedule(levels, Mma(instruction), shape.resident)


def staged(product: Product, along: str, instruction: Instruction) -> Stage:
    """A tile as it lies in memory, copied while the one before is multiplied, with longer rows: what lanes read at a time then lies in banks of its
    own. Rows of products are read four or eight of them at a time, by one number (tf32) or two; rows of one step of the sum one (tf32) or two apart."""
    operand = product.panel if along == product.n else product.other
    wide = type_of(operand.value).element_type == f32
    rows_of_products = operand.step(along) != 1
    pad = 8 if not wide or (instruction == "m16n8k8_tf32") != rows_of_products else 4
    if not wide and not moves_in_words(operand, product):  # two bytes are too few for such a copy
        return Stage("workgroup", product.k_major(operand, along).order, pad)
    return Stage("workgroup", pad=pad, buffers=BUFFERS)


def moves_in_words(operand: OperandFacts, product: Product) -> bool:
    """Are rows known to be of pairs of numbers of 16 bits?"""
    axes = [form.loop() for form, stride in zip(operand.access, operand.strides, strict=True) if stride == 1]
    extent = product.group.fixed(axes[0]) if axes and axes[0] else None
    return extent is not None and extent % 2 == 0


def depths(product: Product, instruction: Instruction) -> dict[str, int]:
    """How much of each sum is staged at a time: of the last loop ROW bytes, or what fewer instructions take, of the others one."""
    found = dict.fromkeys(product.sums, 1)
    last = next((s for s in reversed(product.sums) if product.other.step(s) == 1), product.sums[-1])
    least = 8 if instruction == "m16n8k8_tf32" else 16
    most = ROW // element_bytes(type_of(product.other.value).element_type)
    extent = product.group.fixed(last)
    while least < most and (extent is None or extent > least):
        least *= 2
    found[last] = least
    return found


def time(product: Product, shape: WarpShape, instruction: Instruction, target: CudaTarget) -> float:
    """Cycles per step of the sum: rounds of as many blocks as the multiprocessors hold, times what the tensor cores or shared memory take
    for a block, whichever is longer."""
    (m,) = product.rows
    blocks = prod(size(product, name) for name in product.batch)
    blocks *= ceil(size(product, m) / shape.rows) * ceil(size(product, product.n) / shape.columns)
    at_once = min(shape.resident, ceil(blocks / target.sms))
    rounds = ceil(blocks / (target.sms * at_once))
    moved = (
        shape.warps * (shape.m + shape.n) + shape.rows + shape.columns
    )  # what warps read, and what is staged for them
    products = shape.rows * shape.columns / target.tensor_products(multiplied(instruction))
    hidden = min(1.0, at_once * shape.warps / 8)  # as for ordinary cores
    return rounds * at_once * max(products, moved / BANKS) / hidden
