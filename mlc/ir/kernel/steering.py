"""What @main does between its calls where it is not straight, as data: loops, branches, counts, and the numbers that decide them.

    %s = kernel.row %b[%t]                    ->   Instruction("row", results=(7,), operands=(buffer 3, slot 2, size 256))
    kernel.call @cell_0(%s, %h)               ->   Instruction("call", number=0); step 0 of the plan has Argument("computed", 7)
    scf.for %t = 0 to %n step 1 { ... }       ->   Instruction("for", operands=(0, N, 1), blocks=(Steered(parameters=(2,), ...),))

Values are numbers (an address is one) in numbered slots. Whoever runs a plan without native code for its entry walks the instructions
(mlc/runtime/steered.py); kernels run where they run, and what decides is read back from there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from mlc.ir.kernel.places import Argument, argument_of, argument_row


class Instruction(NamedTuple):
    """One op of @main.

    op        call, copy          the plan's step or copy of this `number`
              row                 address of a base, plus a position times so many bytes
              load, store         one element of the type `detail`: base, then pairs of a position and its stride in bytes; a store has the
                                  value in front
              all_reduce_start    sum up the bucket at an address over all ranks, of the type `detail`, in the slot of this `number`
              all_reduce_wait     and wait for it
              rank                write the number of the rank to an address
              count               write the symbol `detail`: the i64 at a base, not below 0 and not above a bound
              for, if, while      as in scf; the blocks are theirs
              addi, cmpi, ...     as in arith, on integers of the type `detail`; a cmpi has the predicate behind it, "i64 slt"
    results   slots that it sets
    operands  slots ("computed"), numbers and sizes ("size"), memory (its address)
    """

    op: str
    results: tuple[int, ...] = ()
    operands: tuple[Argument, ...] = ()
    detail: str = ""
    number: int = 0
    blocks: tuple[Steered, ...] = ()


class Steered(NamedTuple):
    """A block: slots of its arguments, instructions, and what its last op hands on."""

    parameters: tuple[int, ...]
    body: tuple[Instruction, ...]
    yields: tuple[Argument, ...] = ()


def steered_row(block: Steered) -> list[Any]:
    """As JSON."""
    body = [
        [
            i.op,
            list(i.results),
            list(map(argument_row, i.operands)),
            i.detail,
            i.number,
            list(map(steered_row, i.blocks)),
        ]
        for i in block.body
    ]
    return [list(block.parameters), body, list(map(argument_row, block.yields))]


def steered_of(row: Sequence[Any]) -> Steered:
    """Raises TypeError or ValueError for what steered_row did not write."""
    parameters, body, yields = row
    made = [
        Instruction(
            str(op),
            tuple(map(int, results)),
            tuple(map(argument_of, operands)),
            str(detail),
            int(number),
            tuple(map(steered_of, blocks)),
        )
        for op, results, operands, detail, number, blocks in body
    ]
    return Steered(tuple(map(int, parameters)), tuple(made), tuple(map(argument_of, yields)))


_WIDTHS = {"i1": 1, "i8": 8, "i16": 16, "i32": 32, "i64": 64, "index": 64}


def wrapped(value: int, type: str) -> int:
    """As many bits as the type has, the first of them the sign; a flag is 0 or 1."""
    width = _WIDTHS[type]
    value &= (1 << width) - 1
    return value - (1 << width) if width > 1 and value >> (width - 1) else value


def _unsigned(value: int, type: str) -> int:
    return value & ((1 << _WIDTHS[type]) - 1)


def _quotient(x: int, y: int) -> int:
    """Towards zero, as machines divide; by zero 0."""
    return 0 if not y else abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)


def computed(instruction: Instruction, values: Sequence[int]) -> int:
    """The result of an instruction of arith. Raises KeyError for one that is not known."""
    op, (type, _, predicate) = instruction.op, instruction.detail.partition(" ")
    if op == "select":
        test, x, y = values
        return x if test else y
    if op == "cmpi":
        x, y = (_unsigned(v, type) if predicate.startswith("u") else v for v in values)
        return int(_COMPARE[predicate.lstrip("us") if predicate not in ("eq", "ne") else predicate](x, y))
    if op in _CASTS:
        (x,) = values
        if predicate == "i1" and op == "extsi":  # the flag is the sign
            return -x
        return wrapped(_unsigned(x, predicate) if op == "extui" else x, type)
    x, y = values
    if op.endswith("ui"):
        x, y = _unsigned(x, type), _unsigned(y, type)
    return wrapped(_ARITH[op](x, y), type)


_CASTS = ("index_cast", "extui", "extsi", "trunci")
_COMPARE: Mapping[str, Callable[[int, int], bool]] = {
    "eq": lambda x, y: x == y, "ne": lambda x, y: x != y, "lt": lambda x, y: x < y, "le": lambda x, y: x <= y,
    "gt": lambda x, y: x > y, "ge": lambda x, y: x >= y,
}  # fmt: skip
_ARITH: Mapping[str, Callable[[int, int], int]] = {
    "addi": lambda x, y: x + y, "subi": lambda x, y: x - y, "muli": lambda x, y: x * y,
    "divsi": _quotient, "divui": _quotient, "remsi": lambda x, y: x - _quotient(x, y) * y, "remui": lambda x, y: x - _quotient(x, y) * y,
    "andi": lambda x, y: x & y, "ori": lambda x, y: x | y, "xori": lambda x, y: x ^ y,
    "minsi": min, "maxsi": max, "minui": min, "maxui": max,
}  # fmt: skip
ARITH = frozenset({*_ARITH, *_CASTS, "cmpi", "select"})
