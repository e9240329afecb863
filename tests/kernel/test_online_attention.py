"""Attention as one kernel of a GPU: what it computes beside NumPy's in float64, in any order of threads, with every mask and at any size; that it
has no races, no conflicts of banks, and keeps in registers what it holds."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlc
from mlc.codegen.cuda.machine_code import compile_files
from mlc.codegen.cuda.source_files import sources
from mlc.ir import builder as g
from mlc.ir import interpreter
from mlc.ir.dtypes import TABLE
from mlc.ir.kernel.cuda_target import STATIC_SHARED, cuda_target
from mlc.ir.kernel.schedule import Online, Schedule
from mlc.passes.loops.lower import lower
from mlc.passes.loops.refused import Refused
from mlc.passes.manager import PassManager
from mlc.passes.pipelines import pipeline
from mlc.testing import ORDERS, on_host, recorded
from mlc.testing.host_build import available
from tests.kernel import hand_made

needs_compiler = pytest.mark.skipif(available() is not None, reason=str(available()))
needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")


@dataclass(frozen=True)
class Case:
    """One attention: q [b, h, m, d], k [b, g, t, d], v [b, g, t, e]; `mask`: its shape and dtype."""

    b: int
    h: int
    g: int
    m: int
    t: int
    d: int
    e: int
    causal: bool = False
    mask: tuple[tuple[int, ...], str] | None = None

    def shapes(self) -> list[tuple[int, ...]]:
        return [
            (self.b, self.h, self.m, self.d),
            (self.b, self.g, self.t, self.d),
            (self.b, self.g, self.t, self.e),
            *([self.mask[0]] if self.mask else []),
        ]

    def dtypes(self, dtype: str) -> list[str]:
        return [dtype] * 3 + ([self.mask[1]] if self.mask else [])

    def arrays(self, dtype: str, seed: int = 3) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        made = [rng.standard_normal(shape).astype(np.float32) for shape in self.shapes()]
        return [
            x > 0 if name == "bool" else x.astype(TABLE[name].numpy)
            for x, name in zip(made, self.dtypes(dtype), strict=True)
        ]


def exact(arrays: Sequence[np.ndarray], causal: bool = False) -> np.ndarray:
    """softmax(q k' / sqrt(d) + mask) v in float64."""
    q, k, v = (x.astype(np.float64) for x in arrays[:3])
    shared = q.shape[1] // k.shape[1]
    scores = q @ np.swapaxes(np.repeat(k, shared, 1), 2, 3) / np.sqrt(q.shape[3])
    for mask in arrays[3:]:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    if causal:
        scores = np.where(np.arange(q.shape[2])[:, None] >= np.arange(k.shape[2]), scores, -np.inf)
    with np.errstate(invalid="ignore"):
        weights = np.exp(scores - scores.max(3, keepdims=True, initial=-np.inf))
        weights /= weights.sum(3, keepdims=True)
    return weights @ np.repeat(v, shared, 1)


CASES = {
    "partial tiles": Case(1, 2, 2, 70, 100, 64, 64),
    "causal": Case(1, 2, 2, 70, 90, 16, 24, causal=True),
    "shared keys, causal": Case(1, 6, 2, 33, 50, 20, 40, causal=True),
    "truth": Case(2, 2, 1, 33, 50, 16, 16, mask=((2, 1, 33, 50), "bool")),
    "truth, causal": Case(2, 2, 2, 33, 50, 16, 16, causal=True, mask=((2, 1, 1, 50), "bool")),
    "added": Case(1, 2, 2, 17, 66, 16, 16, mask=((1, 2, 17, 66), "f32")),
    "wide": Case(1, 1, 1, 18, 40, 130, 250),
}
# dtype, precision -> what a result may be wrong by, where values are about 1: half a unit of the last bit of what is multiplied, several times
KINDS = {("f16", "f32"): 2e-3, ("f32", "tf32"): 3e-3, ("f32", "bf16"): 2e-2}


def module(cases: Sequence[Case], dtype: str) -> mlc.Module:
    m = g.module_builder("attentions")
    inputs: list[tuple[str, tuple[Any, ...], str]] = [
        (f"x{n}_{place}", shape, kind)
        for n, case in enumerate(cases)
        for place, (shape, kind) in enumerate(zip(case.shapes(), case.dtypes(dtype), strict=True))
    ]
    with m.function(inputs=inputs) as values:
        left, found = iter(values), []
        for n, case in enumerate(cases):
            q, k, v, *mask = [next(left) for _ in case.shapes()]
            found.append((f"y{n}", g.attention(q, k, v, mask[0] if mask else None, causal=case.causal)))
        m.outputs(found)
    return m.finish()


def on_cpu(cases: Sequence[Case], dtype: str = "f32", precision: str = "f32") -> mlc.Executable:
    exe = mlc.compile(module(cases, dtype), target="cuda-on-cpu", precision=precision)
    for kernel in exe.report["kernels"]:
        assert "Online(" in kernel["schedule"], kernel
    return exe


@needs_compiler
def test_attention_is_what_numpy_says_in_any_order_of_threads() -> None:
    cases = list(CASES.values())
    exe = on_cpu(cases)
    inputs = [case.arrays("f32") for case in cases]
    flat = [array for arrays in inputs for array in arrays]
    for order in ORDERS[:3]:
        for name, case, arrays, got in zip(CASES, cases, inputs, on_host(exe, order)(*flat), strict=True):
            want = exact(arrays, case.causal)
            np.testing.assert_array_equal(np.isnan(got), np.isnan(want), name)  # rows that see no key
            np.testing.assert_allclose(got, want, rtol=0, atol=5e-6, err_msg=name)


@needs_compiler
def test_threads_stay_apart_and_banks_do_not_conflict() -> None:
    case = CASES["partial tiles"]
    (launch,) = recorded(on_cpu([case]), *case.arrays("f32"))
    seen = launch.watch()
    assert not seen.between_blocks()
    assert {use.ways for use in seen.shared_uses()} <= {0, 1}, seen.shared_uses()
    launch.check_races().require_clean()
    launch.check_memory().require_clean()


@needs_compiler
@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_tensor_cores_lose_what_their_operands_do(kind) -> None:
    dtype, precision = kind
    cases = [CASES[name] for name in ("partial tiles", "shared keys, causal")]
    exe = on_cpu(cases, dtype, precision)
    assert all("tensor cores" in kernel["notes"][0] for kernel in exe.report["kernels"])
    inputs = [case.arrays(dtype) for case in cases]
    flat = [array for arrays in inputs for array in arrays]
    results = exe(*flat)
    for case, arrays, got in zip(cases, inputs, results, strict=True):
        want = exact(arrays, case.causal)
        assert np.nanmax(np.abs(np.asarray(got).astype(np.float64) - want)) <= KINDS[kind]
    launch = recorded(exe, *flat)[0]
    assert {use.ways for use in launch.watch().shared_uses() if not use.writes} <= {0, 1}


@needs_compiler
@settings(max_examples=15, deadline=None)
@given(st.data())
def test_sizes_that_only_the_run_knows(data) -> None:
    sizes = st.sampled_from([0, 1, 2, 5, 16, 17, 31, 33, 64, 65, 100])
    batch, queries, keys = data.draw(st.integers(0, 2)), data.draw(sizes), data.draw(sizes)
    arrays = Case(batch, 2, 1, queries, keys, 12, 20).arrays("f32", seed=queries)
    want = exact(arrays, causal=True)
    got = opened()(*arrays)
    if keys:
        np.testing.assert_allclose(got, want, rtol=0, atol=5e-6)
    else:
        np.testing.assert_array_equal(got, np.zeros_like(want))


_opened: list[mlc.Executable] = []


def opened() -> mlc.Executable:
    """Compiled once."""
    if not _opened:
        m = g.module_builder("open")
        shapes = [("q", ("B", 2, "M", 12)), ("k", ("B", 1, "T", 12)), ("v", ("B", 1, "T", 20))]
        with m.function(inputs=[(name, shape, "f32") for name, shape in shapes]) as (q, k, v):
            m.outputs([("y", g.attention(q, k, v, causal=True))])
        _opened.append(mlc.compile(m.finish(), target="cuda-on-cpu"))
        assert "Online(" in _opened[0].report["kernels"][0]["schedule"]
    return _opened[0]


@needs_compiler
def test_scores_that_overflow_or_are_no_numbers_are_those_of_the_cpu() -> None:
    case = Case(1, 1, 1, 16, 70, 16, 16)
    q, k, v = case.arrays("f32")
    q[0, 0, 3], q[0, 0, 5, 2], k[0, 0, 7, 1] = 1e4, np.nan, 50.0
    q[0, 0, 6] *= 1e3
    exe, cpu = on_cpu([case]), mlc.compile(module([case], "f32"))
    np.testing.assert_allclose(exe(q, k, v), cpu(q, k, v), rtol=1e-4, atol=1e-4)


def test_every_stage_computes_the_same_and_threads_stay_apart() -> None:
    """In the interpreter, thread by thread."""
    for dtype, precision, case in (
        ("f32", "", Case(1, 1, 1, 18, 35, 6, 6, causal=True)),
        ("f16", "", Case(1, 1, 1, 16, 18, 6, 6)),
        ("f32", "+tf32", Case(1, 1, 1, 16, 18, 6, 6)),
    ):
        made, arrays = module([case], dtype), case.arrays(dtype)
        (want,) = interpreter.run(made, arrays)
        PassManager(pipeline(2, f"cuda:sm_80{precision}"), verify_each=True).run(made)
        (got,) = interpreter.run(made, arrays)
        np.testing.assert_allclose(got.astype(np.float64), want.astype(np.float64), rtol=0, atol=3e-3)


def chains(read_twice: bool = False) -> mlc.Module:
    """Attention as exporters write it: products, a scale, masks, a softmax; in some orders of axes. q [2, 37, 48] and so on, heads of 12."""
    m = g.module_builder("chains")
    inputs = [
        ("q", (2, 37, 48), "f32"),
        ("k", (2, 41, 48), "f32"),
        ("v", (2, 41, 48), "f32"),
        ("mask", (2, 1, 1, 41), "f32"),
    ]
    with m.function(inputs=inputs) as (q, k, v, mask):
        heads = lambda x, length: g.transpose(g.reshape(x, (2, length, 4, 12)), [0, 2, 1, 3])
        scale = g.full((2, 4, 37, 41), 12**-0.5, "f32")
        of = lambda x: g.mul(g.matmul(heads(x, 37), g.transpose(heads(k, 41), [0, 1, 3, 2])), scale)
        scores, others = of(q), of(g.neg(q))
        rows, columns = (g.iota((2, 4, 37, 41), axis, "i64") for axis in (2, 3))
        seen = g.select(g.ge(rows, columns), others, g.full((2, 4, 37, 41), -1e9, "f32"))
        merged = lambda weights: g.reshape(g.transpose(g.matmul(weights, heads(v, 41)), [0, 2, 1, 3]), (2, 37, 48))
        one = g.reshape(g.slice_axis(k, 2, 0, 12), (2, 41, 12))  # keys that all heads share
        shared = g.mul(g.contract(heads(q, 37), one, "bhsd,btd->bhst"), scale)
        found = [
            ("masked", merged(g.softmax(g.add(scores, g.broadcast_to(mask, (2, 4, 37, 41))), 3))),
            ("causal", merged(g.softmax(seen, 3))),
            ("shared", g.contract(g.softmax(shared, 3), g.slice_axis(v, 2, 0, 12), "bhst,btd->bshd")),
        ]
        m.outputs([*found, ("scores", scores)] if read_twice else found)
    return m.finish()


@needs_compiler
def test_attention_that_exporters_write_out_is_found() -> None:
    rng = np.random.default_rng(0)
    q, k, v, mask = (
        rng.standard_normal(s).astype(np.float32) for s in ((2, 37, 48), (2, 41, 48), (2, 41, 48), (2, 1, 1, 41))
    )
    exe = mlc.compile(chains(), target="cuda-on-cpu")
    assert sum("Online(" in kernel["schedule"] for kernel in exe.report["kernels"]) == 3, exe.report["kernels"]
    heads = lambda x: x.reshape(2, -1, 4, 12).transpose(0, 2, 1, 3)
    merged = lambda x: x.transpose(0, 2, 1, 3).reshape(2, 37, 48)
    masked, causal, shared = exe(q, k, v, mask)
    np.testing.assert_allclose(masked, merged(exact([heads(q), heads(k), heads(v), mask])), rtol=0, atol=5e-6)
    np.testing.assert_allclose(causal, merged(exact([heads(-q), heads(k), heads(v)], causal=True)), rtol=0, atol=5e-6)
    one = exact([heads(q), k[:, None, :, :12], v[:, None, :, :12]])
    np.testing.assert_allclose(shared, one.transpose(0, 2, 1, 3), rtol=0, atol=5e-6)


def test_scores_that_others_read_are_in_memory() -> None:
    done = PassManager(pipeline(2, "cuda:sm_80")).run(chains(read_twice=True))
    assert str(done).count("Online(") == 2  # of those whose scores nobody else reads


def schedule(module: mlc.Module, target: str = "cuda:sm_80") -> Schedule:
    done = PassManager([step for step in pipeline(2, target) if step.name not in ("lower", "plan-arena")]).run(module)
    (text,) = [op.attributes["kernel.schedule"].data for op in done.op.ops if "kernel.schedule" in op.attributes]
    return Schedule.parse(text)


def test_a_block_has_as_many_rows_as_there_are_blocks_for() -> None:
    few, many = (schedule(module([Case(1, heads, heads, 512, 512, 64, 64)], "f32")) for heads in (2, 32))
    assert [s.levels[0].tiles["m"] for s in (few, many)] == [16, 64]
    assert Schedule.parse(str(many)) == many and isinstance(many.leaf, Online)
    half = schedule(module([Case(1, 32, 32, 512, 512, 256, 256)], "f16"))
    assert half.leaf == Online("t", 16, "m16n8k16_f16")


def test_what_does_not_pay_is_several_kernels() -> None:
    for case, dtype in (
        (Case(1, 2, 2, 1, 40, 16, 16), "f32"),  # one query
        (Case(1, 2, 2, 40, 40, 300, 16), "f32"),  # a head that does not fit in registers
        (Case(1, 2, 2, 40, 40, 16, 16), "f64"),
    ):
        done = PassManager(pipeline(2, "cuda:sm_80")).run(module([case], dtype))
        assert "Online(" not in str(done), case


def test_a_kernel_that_is_no_attention_refuses_the_leaf() -> None:
    with pytest.raises(Refused, match="no attention over k"):
        lower(
            hand_made.gemm(32, 32, 32, weight=False), Schedule.parse("Level(m = 16 block.x) | Online(k x 64)"), AMPERE
        )
    with pytest.raises(mlc.MlcError, match="'m8n8' is no instruction of a tensor core"):
        Schedule.parse("Online(t x 64, m8n8)")


AMPERE = cuda_target("sm_80")


@needs_nvcc
def test_what_is_held_stays_in_registers_and_large_memory_is_dynamic() -> None:
    texts = []
    for dtype, d in (("f32", 64), ("f16", 256)):
        case = Case(4, 12, 12, 512, 500, d, d, causal=True)
        (file,) = sources(PassManager(pipeline(2, "cuda:sm_80")).run(module([case], dtype)), AMPERE).files
        texts.append(file.text)
        shared = [launch.shared for kernel in file.kernels.values() for launch in kernel.launches]
        assert all(bytes == 0 or STATIC_SHARED < bytes <= AMPERE.lowering.shared for bytes in shared) and any(shared)
    for code in compile_files(texts, ("sm_80", "sm_90a"), "flush", None):
        for symbol, found in code.resources.items():
            for arch, row in found.items():
                assert row.spills == row.stack == 0, (symbol, arch, row)
