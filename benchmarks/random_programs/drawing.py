"""A program as data: what is drawn, shrunk and printed, and the ONNX model that it stands for.

A program is a list of steps over values 0, 1, ...: first its inputs, then each step's result. Shapes are often squares and cubes.
"""

from __future__ import annotations

import json
import math
import random
from dataclasses import asdict, dataclass, replace
from typing import Any

from onnx import ModelProto, helper

from benchmarks.random_programs.onnx_graph import DTYPES, Extent, Model, Shape, Unfit
from benchmarks.random_programs.steps import BUILD

OPSET = 20
BIG = 4096  # elements of a value
WEIGHTS = {"beside": 5, "binary": 3, "unary": 2, "view": 2, "reduction": 2, "product": 2}


@dataclass(frozen=True)
class Step:
    op: str
    operands: tuple[int, ...]
    params: dict[str, Any]


@dataclass(frozen=True)
class Program:
    """`sizes`: what N is in turn; `shapes`: of the inputs; `level`, `threads`: how it is compiled."""

    dtype: str
    shapes: tuple[Shape, ...]
    steps: tuple[Step, ...]
    sizes: tuple[int, ...] = (4,)
    level: int = 2
    threads: int = 1

    @property
    def floats(self) -> bool:
        return "f" in self.dtype

    def text(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @staticmethod
    def parse(text: str) -> Program:
        found = json.loads(text)
        steps = tuple(Step(s["op"], tuple(s["operands"]), s["params"]) for s in found["steps"])
        shapes = tuple(map(tuple, found["shapes"]))
        return Program(found["dtype"], shapes, steps, tuple(found["sizes"]), found["level"], found["threads"])


def model_of(program: Program, dtype: str | None = None) -> ModelProto:
    """The ONNX model. Every value that nothing reads is an output. Raises Unfit where a step does not apply."""
    m = Model(dtype or program.dtype, program.dtype)
    values = [f"x{n}" for n in range(len(program.shapes))]
    m.shapes.update(zip(values, program.shapes, strict=True))
    for each in program.steps:
        count, build = BUILD[each.op]
        if len(each.operands) != count or max(each.operands) >= len(values):
            raise Unfit
        made = build(m, *(values[n] for n in each.operands), random.Random(each.params["seed"]))
        if math.prod(e if isinstance(e, int) else 5 for e in m.shapes[made]) > BIG or len(m.shapes[made]) > 5:
            raise Unfit
        values.append(made)
    read = {name for node in m.nodes for name in node.input}
    outputs = [name for name in values[len(program.shapes) :] if name not in read]
    if not outputs:
        raise Unfit
    kind = DTYPES[m.dtype]
    graph = helper.make_graph(
        m.nodes,
        "program",
        [helper.make_tensor_value_info(f"x{n}", kind, shape) for n, shape in enumerate(program.shapes)],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs],
        m.inits,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


def draw(seed: int) -> Program:
    """Program number `seed`."""
    r = random.Random(seed)
    dtype = r.choice(["f32"] * 5 + ["f64", "f16", "bf16", "i32", "i64"])
    rank = r.choice([1, 2, 2, 2, 3, 3, 4])
    pool: list[Extent] = [1, 2, 3, 5, 7, 8, 0, "N", "N"] if rank > 2 else [1, 2, 5, 8, 16, 17, 24, 33, 40, 0, "N", "N"]
    first = r.choice(pool)
    shape = (first,) * rank if r.random() < 0.5 else tuple(r.choice(pool) for _ in range(rank))
    sizes = (r.choice([0, 1, 2]), r.choice([3, 4, 5, 6])) if rank > 2 else (r.choice([0, 1, 3]), r.choice([8, 13, 33]))
    program = Program(dtype, (shape,) * r.choice([1, 2]), (), sizes, r.choice([0, 1, 2, 2, 2, 3]), r.choice([1, 2]))
    names = list(BUILD)
    weights = [WEIGHTS.get(name, 1) for name in names]
    for _ in range(r.randrange(2, 11)):
        for _ in range(8):
            (op,) = r.choices(names, weights)
            count = len(program.shapes) + len(program.steps)
            operands = tuple(max(0, count - 1 - int(r.expovariate(0.7))) for _ in range(BUILD[op][0]))
            longer = replace(program, steps=(*program.steps, Step(op, operands, {"seed": r.randrange(1 << 30)})))
            try:
                model_of(longer)
            except Unfit:
                continue
            program = longer
            break
    return program if program.steps else draw(seed + 1_000_003)


def smaller(program: Program) -> list[Program]:
    """Programs that are one cut away, the largest cuts first. Not all of them fit."""
    found = []
    for n in reversed(range(len(program.steps))):
        place = len(program.shapes) + n
        for stand_in in dict.fromkeys((*program.steps[n].operands, 0)):

            def moved(operand: int, stand_in: int = stand_in, place: int = place) -> int:
                return stand_in if operand == place else operand - (operand > place)

            rest = [
                replace(s, operands=tuple(map(moved, s.operands))) if k > n else s
                for k, s in enumerate(program.steps)
                if k != n
            ]
            found.append(replace(program, steps=tuple(rest)))
    if len(program.sizes) > 1:
        found += [replace(program, sizes=(size,)) for size in program.sizes]
    if program.threads > 1:
        found.append(replace(program, threads=1))
    for low in (2, 3, 5, 8):
        for extent in dict.fromkeys(e for shape in program.shapes for e in shape):
            if isinstance(extent, str) or extent > low:
                shapes = tuple(tuple(low if e == extent else e for e in shape) for shape in program.shapes)
                found.append(replace(program, shapes=shapes))
    return found
