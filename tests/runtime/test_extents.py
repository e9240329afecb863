"""Dimension expressions in native code against the same expressions in Python."""

import ctypes
import random

from mlc.codegen.llvm.dimensions import extent_text, symbols_of
from mlc.codegen.llvm.object import compile_text, load
from mlc.ir.dims import Dim, ceildiv, dmax, dmin, evaluate, parse, symbol

SYMBOLS = ("N", "S", "H")


def native(extents):
    """A function of the symbols' values that gives all extents, as machine code."""
    lines: list[str] = []

    def define(text: str) -> str:
        lines.append(f"  %v{len(lines)} = {text}")
        return f"%v{len(lines) - 1}"

    loaded = {
        name: define(f"load i64, ptr {define(f'getelementptr i64, ptr %in, i64 {i}')}")
        for i, name in enumerate(SYMBOLS)
    }
    for i, extent in enumerate(extents):
        value = extent_text(extent, loaded.__getitem__, define)
        place = define(f"getelementptr i64, ptr %out, i64 {i}")
        lines.append(f"  store i64 {value}, ptr {place}")
    text = "\n".join(["define void @f(ptr %in, ptr %out) {", *lines, "  ret void", "}"])
    # a store has no name: instructions are numbered by their line
    library = load([compile_text(text)])
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(library.address("f"))

    def call(values: dict[str, int]) -> list[int]:
        given = (ctypes.c_int64 * len(SYMBOLS))(*(values[name] for name in SYMBOLS))
        out = (ctypes.c_int64 * len(extents))()
        function(ctypes.addressof(given), ctypes.addressof(out))
        return list(out)

    call.library = library
    return call


def drawn(rng: random.Random, depth: int):
    if depth == 0:
        return rng.choice([symbol(rng.choice(SYMBOLS)), rng.randint(-3, 9)])
    a, b = drawn(rng, depth - 1), drawn(rng, depth - 1)
    return rng.choice(
        [
            lambda: a + b,
            lambda: a - b,
            lambda: a * b,
            lambda: a // rng.choice([2, 3, 7, -4]),
            lambda: ceildiv(a, rng.choice([2, 5])),
            lambda: a // dmax(b, 1),
            lambda: dmin(a, b),
            lambda: dmax(a, b, 2),
            lambda: a % 6,
        ]
    )()


def test_native_values_are_those_of_python():
    rng = random.Random(2)
    extents = [drawn(rng, 3) for _ in range(150)]
    function = native(extents)
    for _ in range(30):
        values = {name: rng.choice([0, 1, 2, 5, 31, 64, 1000, -7]) for name in SYMBOLS}
        assert function(values) == [evaluate(extent, values) for extent in extents]


def test_a_divisor_of_zero_does_not_trap():
    function = native([parse("N//S"), parse("N//H")])
    assert function({"N": 12, "S": 0, "H": 5}) == [12, 2]


def test_symbols_of_a_number_are_none():
    assert symbols_of(3) == frozenset()
    extent = parse("N*S + 1")
    assert isinstance(extent, Dim) and symbols_of(extent) == {"N", "S"}
