"""Branches and loops that data decides, through every stage: import, both interpreters, native code, packages and shared libraries."""

from __future__ import annotations

import ctypes
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import mlc
from mlc.comparison import compare
from mlc.compiler import load
from mlc.errors import UnsupportedOp
from mlc.ir import builder as g
from mlc.ir.module import Module
from mlc.passes.manager import PassManager
from mlc.passes.pipelines import graph_passes, pipeline
from tests.test_counted import agree

SIZES = (3, 0, 1, 7)


def parse(body: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]>\nmain {body}')


def rows(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng((seed, n)).standard_normal((n, 3)).astype(np.float32)


def names(module: Module) -> list[str]:
    return [op.name.removeprefix("graph.") for op in module.op.walk()]


LAYERS = """(bool c, float[N, 3] x, float[N, 3] y) => (float[N, 3] r, float[N, 3] s) <float[3, 3] w = {1, 2, 0, -1, 1, 1, 0, 2, 1}> {
    r, s = If (c) <
        then_branch = yes () => (float[N, 3] a, float[N, 3] o) { m = MatMul(x, w) a = Tanh(m) o = Identity(y) },
        else_branch = no () => (float[N, 3] p, float[N, 3] o) { m = MatMul(y, w) q = Add(m, x) n = MatMul(q, w) p = Relu(n) o = Identity(x) }
    >
}"""


def test_a_branch_gives_what_it_computes_or_a_value_from_outside() -> None:
    feeds = [{"c": np.array(c), "x": rows(n), "y": rows(n, 1)} for c in (True, False) for n in SIZES]
    agree(parse(LAYERS), feeds)


def test_only_the_branch_that_is_taken_runs() -> None:
    executable = mlc.compile(parse(LAYERS), threads=1)
    ran = {}
    for c in (True, False):
        steps = executable.profile(np.array(c), rows(64), rows(64))
        ran[c] = {step.step for step in steps if step.nanoseconds > 0}
    assert ran[True] and ran[False] and not ran[True] & ran[False]


def test_a_weight_that_a_branch_transposes_is_transposed_at_compile_time() -> None:
    m = g.module_builder()
    with m.function(inputs=[("c", (), "bool"), ("x", ("N", 8), "f32")]) as (c, x):
        w = g.weight(np.arange(128, dtype=np.float32).reshape(16, 8), "w")

        def then(x, w):  # type: ignore[no-untyped-def]
            return [g.exp(g.matmul(x, g.transpose(w, [1, 0])))]

        m.outputs(
            [("y", g.cond(c, then, lambda x, w: [g.matmul(x, g.reshape(g.transpose(w, [1, 0]), (8, 16)))], [x, w])[0])]
        )
    module = PassManager([step for step in graph_passes(1) if step.name == "fold"]).run(m.finish())
    assert "transpose" not in names(module) and "@w.transposed" in str(module)
    for c in (True, False):
        x = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32) / 99
        want = x @ np.arange(128, dtype=np.float32).reshape(16, 8).T
        np.testing.assert_allclose(module.run(np.array(c), x)[0], np.exp(want) if c else want, rtol=1e-4, atol=1e-4)


def test_buffers_of_two_branches_share_memory() -> None:
    """Six values of one size on each side, of which two are alive at once."""
    chain = " ".join(f"{{0}}m{n} = MatMul({{0}}{n}, w) {{0}}{n + 1} = Tanh({{0}}m{n})" for n in range(6))
    sides = [f"{side}0 = Exp(x) {chain.format(side)} {side} = Identity({side}6)" for side in ("a", "b")]
    body = f"""(bool c, float[N, 3] x) => (float[N, 3] y) <float[3, 3] w = {{1, 2, 0, -1, 1, 1, 0, 2, 1}}> {{
        y = If (c) <then_branch = yes () => (float[N, 3] a) {{ {sides[0]} }}, else_branch = no () => (float[N, 3] b) {{ z = Neg(x) {sides[1].replace("Exp(x)", "Exp(z)")} }}>
    }}"""
    executable = mlc.compile(parse(body))
    use = executable.memory_analysis(N=1 << 16)
    assert use.arena < 3.5 * 3 * 4 * (1 << 16)
    agree(parse(body), [{"c": np.array(c), "x": rows(n)} for c in (True, False) for n in SIZES])


def choice(branch: str) -> Module:
    return load(
        parse(f"""(bool c, float[N, 3] x) => (float[N, 3] y) <float[3, 3] w = {{1, 2, 0, -1, 1, 1, 0, 2, 1}}> {{
            y = If (c) <then_branch = yes () => (float[N, 3] a) {{ {branch} }}, else_branch = no () => (float[N, 3] x) {{ }}>
        }}""")
    )


@pytest.mark.parametrize(("branch", "stays"), [("b = Exp(x) a = Neg(b)", False), ("a = MatMul(x, w)", True)])
def test_branches_of_a_few_elementwise_ops_become_a_select(branch: str, stays: bool) -> None:
    module = PassManager(graph_passes()).run(choice(branch))
    assert ("if" in names(module), "select" in names(module)) == (stays, not stays)


def test_a_condition_that_folds_leaves_one_branch() -> None:
    m = g.module_builder()
    with m.function(inputs=[("x", (4, 4), "f32")]) as (x,):
        flag = g.lt(g.scalar(1, "i32"), g.scalar(2, "i32"))
        m.outputs([("y", g.cond(flag, lambda x: [g.matmul(x, x)], lambda x: [g.neg(x)], [x])[0])])
    module = PassManager(graph_passes()).run(m.finish())
    assert "contract" in names(module) and not {"if", "neg"} & set(names(module))


def test_what_no_body_reads_does_not_go_in() -> None:
    body = """(bool c, float[N, 3] x, float[N, 4] t) => (float[N, 3] y) {
        shape = Shape(x) wide = Softmax(t)
        y = If (c) <then_branch = yes () => (float[N, 3] a) { r = Reshape(x, shape) s = Softmax(r) a = Mul(s, x) unread = Neg(wide) },
                    else_branch = no () => (float[N, 3] b) { b = Softmax(x) }>
    }"""
    module = load(parse(body))
    (op,) = [op for op in module.main.body.block.ops if op.name == "graph.if"]
    assert len(op.operands) == 2


# Loops -------------------------------------------------------------------------------------------------------------------

HALVING = """(float[N, 3] x, float limit) => (float[N, 3] last, int64 steps, float[T, N, 3] all, float[T] sizes) <int64 most = {20}, bool go = {1}, int64 zero = {0}, float half = {0.5}> {
    last, steps, all, sizes = Loop (most, go, x, zero) <body = b (int64 i, bool c, float[N, 3] v, int64 k) => (bool on, float[N, 3] w, int64 n, float[N, 3] seen, float s) {
        w = Mul(v, half)
        a = Abs(w)
        s = ReduceSum <keepdims = 0> (a)
        on = Greater(s, limit)
        n = Add(i, k)
        seen = Identity(v)
    }>
}"""


def test_a_loop_ends_with_its_condition_and_stacks_as_many_rows() -> None:
    feeds = [{"x": rows(n), "limit": np.array(t, np.float32)} for n in SIZES for t in (-1.0, 0.01, 1.5, 1e9)]
    agree(parse(HALVING), feeds)


SWAP = """(float[N, 3] x, float[N, 3] y, float[N, 3] z, bool go, int64 most) => (float[N, 3] p, float[N, 3] q, float[N, 3] r) <float limit = {30}> {
    p, q, r = Loop (most, go, x, y, z) <body = b (int64 i, bool c, float[N, 3] a, float[N, 3] b, float[N, 3] k) => (bool on, float[N, 3] b, float[N, 3] d, float[N, 3] k) {
        d = Add(a, k)
        e = Abs(d)
        s = ReduceSum <keepdims = 0> (e)
        on = Less(s, limit)
    }>
}"""


def test_carried_values_trade_places_and_stay_as_they_are() -> None:
    """The trip count and the first condition are data."""
    feeds = [
        {"x": rows(n), "y": rows(n, 1), "z": rows(n, 2), "go": np.array(go), "most": np.array(most)}
        for n in SIZES
        for go, most in ((True, 100), (True, 2), (True, 0), (True, -3), (False, 9))
    ]
    agree(parse(SWAP), feeds)


WHILE = """(float[S, 3] x, int64 low) => (float[3] last, float[P, 3] all) <int64 zero = {0}, int64 one = {1}, float[3] init = {0, 0, 0}> {
    shape = Shape(x)
    n = Gather(shape, zero)
    go = %s
    i_out, last, n_out, all = Loop ("", go, %s, init, n) <body = b (int64 t, bool c, int64 i, float[3] acc, int64 m) => (bool on, int64 j, float[3] sum, int64 m2, float[3] row) {
        r = Gather(x, i)
        sum = Add(acc, r)
        row = Neg(sum)
        j = Add(i, one)
        m2 = Identity(m)
        %s
    }>
}"""


@pytest.mark.parametrize(
    ("first", "start", "condition"),
    [
        ("Less(zero, n)", "zero", "f = Cast <to = 1> (j) h = Cast <to = 1> (m2) on = Less(f, h)"),
        ("Greater(n, zero)", "zero", "a = Less(j, m2) b = Less(j, n) on = And(a, b)"),
        ("LessOrEqual(one, n)", "zero", "e = GreaterOrEqual(j, m) on = Not(e)"),
        ("Less(one, n)", "one", "on = Less(j, m)"),
    ],
)
def test_a_loop_whose_condition_counts_up_to_a_size_is_a_scan(first: str, start: str, condition: str) -> None:
    proto = parse(WHILE % (first, start, condition))
    assert "scan" in names(load(proto)) and "while" not in names(load(proto))
    agree(proto, [{"x": rows(n), "low": np.array(0)} for n in SIZES])


@pytest.mark.parametrize(
    ("first", "condition"),
    [
        ("Less(low, n)", "on = Less(j, m)"),  # data decides whether it begins
        ("Less(zero, n)", "k = Less(low, j) e = Less(j, m) on = And(e, k)"),  # and whether it goes on
    ],
)
def test_a_counter_in_the_condition_bounds_what_is_stacked(first: str, condition: str) -> None:
    proto = parse(WHILE % (first, "zero", condition))
    module = load(proto)
    assert "while" in names(module) and str(module.counted["count0"]) in ("S", "max(1, S)")
    agree(proto, [{"x": rows(n), "low": np.array(low)} for n in (1, 4) for low in (-1, 0, 9)])


def test_a_loop_without_a_bound_runs_until_its_condition_ends_it() -> None:
    body = """(float x, float limit) => (float y, int64 n) <int64 zero = {0}, bool go = {1}, int64 one = {1}> {
        y, n = Loop ("", go, x, zero) <body = b (int64 i, bool c, float v, int64 k) => (bool on, float w, int64 j) {
            w = Add(v, v) j = Add(k, one) on = Less(w, limit)
        }>
    }"""
    agree(parse(body), [{"x": np.array(1, np.float32), "limit": np.array(t, np.float32)} for t in (0, 3, 1e30)])


ROWS = """(float[3] x, float limit, int64 most) => (float[3] y, float[T, 3] all) <bool go = {1}> {
    y, all = Loop (%s, go, x) <body = b (int64 i, bool c, float[3] v) => (bool on, float[3] w, float[3] seen) {
        w = Add(v, v) s = ReduceSum <keepdims = 0> (w) on = %s seen = Neg(w)
    }>
}"""


@pytest.mark.parametrize(
    ("count", "condition", "words"),
    [
        ('""', "Less(s, limit)", "nothing says how many at most"),
        ("most", "Less(s, limit)", "trip count 'most' comes from 'most' and is known only at run time"),
        ('""', "Identity(c)", "the loop never ends"),
    ],
)
def test_a_loop_that_cannot_be_planned_is_refused_with_the_reason(count: str, condition: str, words: str) -> None:
    with pytest.raises(UnsupportedOp, match=words):
        load(parse(ROWS % (count, condition)))


def test_a_trip_count_that_is_given_bounds_the_rows() -> None:
    proto = parse(ROWS % ("most", "Less(s, limit)"))
    executable = mlc.compile(load(proto, known={"most": np.array(5)}))
    _, stacked = executable.run(None, {"x": np.ones(3, np.float32), "limit": np.array(20, np.float32)})
    np.testing.assert_array_equal(stacked, -np.outer([2, 4, 8], np.ones(3)))


def test_a_loop_that_grows_its_carry_is_written_out() -> None:
    body = """(float[N, 3] x) => (float[a, b] y, float[c] sums) <int64 three = {3}, bool go = {1}> {
        y, sums = Loop (three, go, x) <body = b (int64 i, bool c, float[n, 3] v) => (bool on, float[m, 3] w, float s) {
            on = Identity(c) w = Concat <axis = 0> (v, x) s = ReduceSum <keepdims = 0> (w)
        }>
    }"""
    agree(parse(body), [{"x": rows(n)} for n in SIZES])
    with pytest.raises(UnsupportedOp, match="carried value 0 is .* before a step and .* after it"):
        load(
            parse(
                body.replace(") => (float[a, b]", ", int64 most) => (float[a, b]")
                .replace("(three", "(most")
                .replace(", float[c] sums", "")
                .replace("y, sums", "y")
                .replace(", float s)", ")")
                .replace(" s = ReduceSum <keepdims = 0> (w)", "")
            )
        )


# Nested, random ----------------------------------------------------------------------------------------------------------


class Program:
    """A random program over values of one shape, with branches and loops in each other that read what stands around them."""

    def __init__(self, seed: int):
        self.rng, self.count = np.random.default_rng(seed), 0

    def new(self) -> str:
        self.count += 1
        return f"v{self.count}"

    def pick(self, values: list[str]) -> str:
        return values[self.rng.integers(len(values))]

    def flag(self, nodes: list, values: list[str]) -> str:
        total, flag, x = self.new(), self.new(), self.pick(values)
        nodes.append(helper.make_node("ReduceSum", [x], [total], keepdims=0))
        nodes.append(helper.make_node(self.pick(["Less", "Greater"]), [total, "limit"], [flag]))
        return flag

    def block(self, values: list[str], depth: int) -> tuple[list, list[str]]:
        """Nodes, and all values there are behind them."""
        nodes: list = []
        values = list(values)
        for _ in range(self.rng.integers(1, 4)):
            kind = self.rng.integers(6 if depth else 3)
            if kind <= 1:
                y = self.new()
                nodes.append(
                    helper.make_node(self.pick(["Add", "Sub", "Max"]), [self.pick(values), self.pick(values)], [y])
                )
                values.append(y)
            elif kind == 2:
                y, z = self.new(), self.new()
                nodes.append(helper.make_node("MatMul", [self.pick(values), "w"], [y]))
                nodes.append(helper.make_node("Tanh", [y], [z]))
                values.append(z)
            elif kind == 3:
                values += self.branch(nodes, values, depth - 1)
            else:
                values += self.loop(nodes, values, depth - 1)
        return nodes, values

    def branch(self, nodes: list, values: list[str], depth: int) -> list[str]:
        flag, graphs = self.flag(nodes, values), []
        for name in ("then", "else"):
            inner, found = self.block(values, depth)
            results = [self.pick(found), self.pick(found)]
            outputs = []
            for result in results:  # a branch gives values that it makes
                outputs.append(self.new())
                inner.append(helper.make_node("Identity", [result], [outputs[-1]]))
            graphs.append(helper.make_graph(inner, self.new() + name, [], [value(o) for o in outputs]))
        results = [self.new(), self.new()]
        nodes.append(helper.make_node("If", [flag], results, then_branch=graphs[0], else_branch=graphs[1]))
        return results

    def loop(self, nodes: list, values: list[str], depth: int) -> list[str]:
        number, before, carried = self.new(), self.new(), [self.new(), self.new()]
        inner, found = self.block([*values, *carried], depth)
        results, outputs = [self.pick(found), carried[0] if self.rng.integers(2) else self.pick(found)], []
        for result in results:
            outputs.append(self.new())
            inner.append(helper.make_node("Identity", [result], [outputs[-1]]))
        after = self.flag(inner, [*found]) if self.rng.integers(2) else self.new()
        if not any(after in node.output for node in inner):
            inner.append(helper.make_node("Identity", [before], [after]))
        body = helper.make_graph(
            inner,
            self.new() + "body",
            [value(number, TensorProto.INT64, []), value(before, TensorProto.BOOL, []), *map(value, carried)],
            [value(after, TensorProto.BOOL, []), *map(value, outputs)],
        )
        results = [self.new(), self.new()]
        trips = self.pick(["three", "most", "none"])
        first = "" if self.rng.integers(2) else self.flag(nodes, values)
        nodes.append(helper.make_node("Loop", [trips, first, self.pick(values), self.pick(values)], results, body=body))
        return results

    def model(self) -> onnx.ModelProto:
        nodes, values = self.block(["x", "y"], 2)
        flat = [self.branch(nodes, values, 1), self.loop(nodes, values, 1)]
        outputs = [name for pair in flat for name in pair]
        integer = {"three": 3, "none": 0}
        graph = helper.make_graph(
            nodes,
            "random",
            [value("x"), value("y"), value("limit", TensorProto.FLOAT, []), value("most", TensorProto.INT64, [])],
            [value(name) for name in outputs],
            [
                helper.make_tensor("w", TensorProto.FLOAT, [3, 3], np.linspace(-0.4, 0.6, 9)),
                *(helper.make_tensor(name, TensorProto.INT64, [], [number]) for name, number in integer.items()),
            ],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def value(name: str, kind: int = TensorProto.FLOAT, shape: list | None = None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, ["N", 3] if shape is None else shape)


@pytest.mark.parametrize("seed", range(12))
def test_branches_and_loops_within_each_other_agree_with_onnxruntime(seed: int) -> None:
    proto = Program(seed).model()
    agree(
        proto,
        [
            {"x": rows(n, 1) / 2, "y": rows(n, 2) / 2, "limit": np.array(limit, np.float32), "most": np.array(most)}
            for n, limit, most in ((2, 0.05, 2), (1, -9, 3), (5, 9, 0), (0, 0, 2))
        ],
    )


# Elsewhere ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [LAYERS, HALVING, SWAP], ids=["if", "rows", "carries"])
def test_packages_libraries_and_threads_give_the_same(text: str, tmp_path: Path) -> None:
    proto = parse(text)
    executable = mlc.compile(proto, threads=1)
    feed = _feed(executable, 640)
    want = executable.run(None, feed)
    executable.save(tmp_path / "m.mlc")
    others = [mlc.load_executable(tmp_path / "m.mlc"), mlc.compile(proto, threads=2)]
    if shutil.which("cc"):
        executable.export_library(tmp_path / "m.so", header=tmp_path / "m.h")
        others.append(Library(tmp_path / "m.so", executable))
    for other in others:
        for x, y in zip(other.run(None, feed), want, strict=True):
            np.testing.assert_array_equal(x, y)
    compare(proto, feed).raise_if_different()


class Library:
    """An exported library, called as an executable is. Outputs have the shapes that it tells."""

    def __init__(self, path: Path, executable):  # type: ignore[no-untyped-def]
        self.library, self.executable = ctypes.CDLL(str(path)), executable

    def run(self, names: None, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        outputs = self.executable.get_outputs()
        ranks = [len(spec.shape) for spec in outputs]
        sizes, told = (ctypes.c_int64 * 1)(len(feed["x"])), (ctypes.c_int64 * (sum(ranks) + 1))()
        assert self.library.m_shapes(sizes, told) == 0
        places = [list(told)[sum(ranks[:k]) : sum(ranks[: k + 1])] for k in range(len(ranks))]
        found = [np.zeros(p, x.dtype) for p, x in zip(places, self.executable.run(None, feed), strict=True)]
        pointers = [
            (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays)) for arrays in (list(feed.values()), found)
        ]
        assert self.library.m_run(sizes, *pointers, None, told) == 0
        ends = [list(told)[sum(ranks[:k]) : sum(ranks[: k + 1])] for k in range(len(ranks))]
        return [array.ravel()[: int(np.prod(end))].reshape(end) for array, end in zip(found, ends, strict=True)]


def _feed(executable, n: int) -> dict[str, np.ndarray]:  # type: ignore[no-untyped-def]
    known = {"c": np.array(True), "go": np.array(True), "most": np.array(4), "limit": np.array(2, np.float32)}
    return {spec.name: known.get(spec.name, rows(n, k)) for k, spec in enumerate(executable.get_inputs())}


@pytest.mark.parametrize("level", [0, 1, 2, 3])
@pytest.mark.parametrize("text", [LAYERS, HALVING, SWAP], ids=["if", "rows", "carries"])
def test_every_level_of_optimisation_gives_the_same(text: str, level: int) -> None:
    from mlc.ir.kernel.interpreter import run_program

    module = load(parse(text))
    program = PassManager(pipeline(level, "x86-64-v3"), verify_each=True).run(module.clone())
    feed = {"c": np.array(False), "go": np.array(True), "most": np.array(4), "limit": np.array(2, np.float32)}
    arrays = [feed.get(name, rows(3, k)) for k, name in enumerate(module.input_names)]
    for x, y in zip(run_program(program, arrays, races=True), module.run(*arrays), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5)
