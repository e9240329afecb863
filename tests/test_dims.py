"""Dimension expressions against Python's own integers."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlc.errors import ShapeError
from mlc.ir.dims import (
    Dim,
    bounds_of,
    ceildiv,
    ceiling,
    compare,
    dmax,
    dmin,
    evaluate,
    evaluator,
    exact_quotient,
    parse,
    prod,
    simplify,
    substitute,
    symbol,
)

H, N, S = symbol("H"), symbol("N"), symbol("S")
SYMBOLS = ("H", "N", "S")


def random_expression(rng: random.Random, depth: int):
    """(extent, the same as a function of Python integers)."""
    if depth == 0 or rng.random() < 0.15:
        if rng.random() < 0.4:
            number = rng.choice([0, 1, 2, 3, 7, 64, -1, -3])
            return number, lambda b: number
        name = rng.choice(SYMBOLS)
        return symbol(name), lambda b: b[name]
    a, f = random_expression(rng, depth - 1)
    b, g = random_expression(rng, depth - 1)
    kind = rng.choice(["+", "-", "*", "min", "max", "//", "//", "%", "ceildiv"])
    if kind == "+":
        return a + b, lambda v: f(v) + g(v)
    if kind == "-":
        return a - b, lambda v: f(v) - g(v)
    if kind == "*":
        return a * b, lambda v: f(v) * g(v)
    if kind == "min":
        return dmin(a, b), lambda v: min(f(v), g(v))
    if kind == "max":
        return dmax(a, b), lambda v: max(f(v), g(v))
    k = rng.choice([1, 2, 3, 4, 6, 64, -2, -3])
    if kind == "//" and rng.random() < 0.3:
        # a divisor that is an expression, kept positive
        return a // (dmax(b, 1)), lambda v: f(v) // max(g(v), 1)
    if kind == "//":
        return a // k, lambda v: f(v) // k
    if kind == "%":
        return a % k, lambda v: f(v) % k
    return ceildiv(a, k), lambda v: -(-f(v) // k)


@pytest.mark.parametrize("seed", range(8))
def test_random_expressions_agree_with_python_integers(seed):
    rng = random.Random(seed)
    bounds = {"H": (0, 40), "N": (-5, 9), "S": (1, None)}
    for _ in range(300):
        extent, meaning = random_expression(rng, rng.choice([1, 2, 3, 4]))
        again = parse(str(extent))
        assert again == extent and str(again) == str(extent)
        low, high = bounds_of(extent, bounds)
        simple = simplify(extent, bounds)
        compiled = evaluator([extent, 5], SYMBOLS)
        for _ in range(8):
            values = {"H": rng.randint(0, 40), "N": rng.randint(-5, 9), "S": rng.choice([1, 2, 3, 64, 1000])}
            want = meaning(values)
            assert evaluate(extent, values) == want, (str(extent), values)
            assert compiled(*(values[name] for name in SYMBOLS)) == (want, 5)
            assert evaluate(simple, values) == want, (str(extent), str(simple), values)
            assert substitute(extent, values) == want
            assert (low is None or low <= want) and (high is None or want <= high), (str(extent), low, high, values)


@pytest.mark.parametrize("seed", range(4))
def test_a_ceiling_is_an_expression_of_the_other_symbols_that_is_never_exceeded(seed):
    rng = random.Random(seed)
    most = {"S": N + H // 2, "N": 2 * H}
    for _ in range(300):
        extent, meaning = random_expression(rng, rng.choice([1, 2, 3]))
        top = ceiling(ceiling(extent, {"S": most["S"]}), {"N": most["N"]})
        assert isinstance(top, int) or top.symbols() <= {"H"}
        for _ in range(8):
            h = rng.randint(0, 9)
            n = rng.randint(0, 2 * h)
            values = {"H": h, "N": n, "S": rng.randint(0, n + h // 2)}
            assert meaning(values) <= evaluate(top, values), (str(extent), str(top), values)


def test_a_ceiling_bounds_each_symbol_where_it_stands():
    assert ceiling(64 * N, {"N": H}) == 64 * H
    assert ceiling(H - N, {"N": H}) == H
    assert ceiling(dmin(N + 1, 300), {"N": H}) == dmin(H + 1, 300)
    assert ceiling((N + 7) // 8, {"N": 64}) == 8
    assert ceiling(S, {"N": H}) == S


def test_substitution_of_expressions_commutes_with_evaluation():
    rng = random.Random(1)
    for _ in range(300):
        extent, meaning = random_expression(rng, 3)
        inner, inner_meaning = random_expression(rng, 2)
        replaced = substitute(extent, {"N": inner})
        values = {name: rng.randint(1, 30) for name in SYMBOLS}
        assert evaluate(replaced, values) == meaning({**values, "N": inner_meaning(values)})


@pytest.mark.parametrize(
    "left, right",
    [
        ("((H - 1)//2 + 1 - 1)//2 + 1", "(H - 1)//4 + 1"),
        ("((H + 1)//2 + 1)//2", "(H + 3)//4"),
        ("S + (-S) % 64", "64*((S + 63)//64)"),
        ("N*S*64 // (N*S)", "64"),
        ("(N*S*2 + N) // N", "2*S + 1"),
        ("12*N*S // (8*N)", "3*S//2"),
        ("N + S", "S + N"),
        ("(2*N + 1)//4", "N//2"),
        ("min(N + 1, 513)", "min(N, 512) + 1"),
        ("min(5, min(N, S))", "min(N, min(S, 5, 9))"),
        ("N*(S + 1) - N", "N*S"),
        ("(N + S)*(N - S)", "N*N - S*S"),
        ("Min(512, s20)", "min(s20, 512)"),
        ("Mod(N, 4)", "N - 4*(N//4)"),
        ("floor(N/2)", "N//2"),
        ("CeilToInt(IntTrueDiv(N, 2))", "ceildiv(N, 2)"),
        ("FloorDiv(s98, 80)", "s98//80"),
        ("2.0*N", "N*2"),
        ("N**2", "N*N"),
        ("2*(N + 1)/2", "N + 1"),
        ("floor(0.0*N + 1.0)", "1"),
    ],
)
def test_equal_extents_have_equal_text(left, right):
    assert parse(left) == parse(right)
    assert str(parse(left)) == str(parse(right))


@pytest.mark.parametrize(
    "text",
    ["s16 + 1", "((s98//80 - 3)//2) + 1", "N*S", "2*(H//2)", "-(N//2)", "past.length + 1", "max(N, S) - 3", "7"],
)
def test_text_can_be_read_back(text):
    assert parse(str(parse(text))) == parse(text)


def test_expressions_print_as_a_reader_would_write_them():
    assert str(N * S * 64 + 1) == "64*N*S + 1"
    assert str((H - 1) // 2 + 1) == "(H + 1)//2"
    assert str(H - 2 * (H // 2)) == "H - 2*(H//2)"
    assert str(-(N // 2)) == "-(N//2)"
    assert str(N // (S + 1)) == "N//(S + 1)"
    assert str(dmin(S, 512) * N) == "N*min(512, S)"
    assert str(ceildiv(S, 64)) == "(S + 63)//64"


@pytest.mark.parametrize("name", ["batch size", "unk__12", "x:0", "it's", "a\\b", "7up", "größe", "decoder/x.1", "-"])
def test_any_name_survives_printing(name):
    extent = symbol(name) * 2 + 1
    assert parse(str(extent)) == extent
    assert extent.symbols() == {name}
    assert evaluator([extent], [name])(4) == (9,)


@pytest.mark.parametrize(
    "text", ["", "  ", "?", "N +", "(N", "N)", "N S", "foo(N)", "N/2", "N//0", "min()", "1.5*N", "N,"]
)
def test_what_is_no_expression_is_refused_with_its_text(text):
    with pytest.raises(ValueError, match="cannot read the dimension"):
        parse(text)


def test_text_that_would_grow_without_end_is_refused():
    with pytest.raises(ValueError, match="beyond any extent"):
        parse("((a + b + c + d)**8 + e)**8")
    with pytest.raises(ValueError, match="the power 99 is beyond"):
        parse("a**99")


@given(st.text(alphabet="NS12 +-*/%(),.'\\minaxflor", max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_or_refused(text):
    try:
        extent = parse(text)
    except ValueError:
        return
    assert parse(str(extent)) == extent


def test_deep_nesting_is_refused_rather_than_crashing():
    with pytest.raises(ValueError, match="too deeply"):
        parse("(" * 5000 + "N" + ")" * 5000)


def test_comparison_is_decided_by_bounds_alone():
    assert compare(N, -1, {}) == 1
    assert compare(N, 1, {}) is None
    assert compare(N, 0, {}) is None
    assert compare(N + 1, 0, {}) == 1
    assert compare(N, 33, {"N": (1, 32)}) == -1
    assert compare(N, 3, {"N": (3, 3)}) == 0
    assert compare(N + S, S, {"N": (1, None)}) == 1
    assert compare(N, S, {}) is None


def test_bounds_see_through_calls_of_the_same_symbol():
    assert bounds_of(H - 4 * (H // 4), {}) == (0, 3)
    assert bounds_of(S - dmin(S, 512), {})[0] == 0
    assert bounds_of(dmax(S, 3) - S, {})[0] == 0
    assert bounds_of(N * S, {"N": (2, 3), "S": (5, None)}) == (10, None)
    assert bounds_of(N - S, {}) == (None, None)
    assert bounds_of(H % 4 + N % 4 + S % 4, {}) == (0, 9)
    assert simplify(dmax(N, 0), {}) == N
    assert simplify(dmin(dmax(N - 2, 0), N), {"N": (2, None)}) == N - 2
    assert simplify(N // 64, {"N": (0, 63)}) == 0


def test_constants_are_plain_integers():
    assert type(N - N) is int
    assert type((N + 3) - N) is int
    assert type(prod([2, 3])) is int
    assert prod([]) == 1
    assert type(dmin(N, N + 1) - N) is int
    assert type(parse("3*4 // 5")) is int


def test_a_dim_has_no_truth_value():
    with pytest.raises(TypeError, match="whether N is 0 is not known"):
        bool(N)


def test_exact_quotient_refuses_what_does_not_divide():
    assert exact_quotient(N * S * 64, N * S) == 64
    assert exact_quotient(N * S + N, S + 1) == N
    assert exact_quotient(N * S + 1, N) is None
    assert exact_quotient(N, 2) is None
    assert exact_quotient(N, 0) is None


def test_equal_dims_share_a_hash():
    assert {N * S, S * N, parse("S*N")} == {N * S}
    assert isinstance(N * S, Dim)


def test_sizes_that_divide_by_zero_are_a_shape_error_that_names_them():
    with pytest.raises(ShapeError, match=r"the extent N//S divides by zero at N = 4, S = 0"):
        evaluate(parse("H + 3*(N//S)"), {"H": 1, "N": 4, "S": 0})
    with pytest.raises(ShapeError, match="divides by zero"):
        substitute(parse("N//S"), {"S": 0})


def test_bounds_under_which_every_size_divides_by_zero_leave_the_extent_as_it_is():
    assert simplify(parse("N//S + max(S, 0)"), {"S": (0, 0)}) == parse("N//S")


def test_a_size_that_grows_with_each_layer_is_refused_before_it_takes_long():
    size = symbol("N")
    with pytest.raises(ShapeError, match=r"a size is too long an expression: .*\.\.\.\n"):
        for _ in range(64):
            size = size + (size + 1) // 2
            assert bounds_of(size, {}) is not None
    power = symbol("N")
    with pytest.raises(ShapeError, match="too long an expression"):
        for _ in range(64):
            power = power * power
    number = symbol("N")
    with pytest.raises(ShapeError, match="too long an expression"):
        for _ in range(64):
            number = number * 65536
