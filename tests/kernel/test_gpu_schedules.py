"""The schedules that rules choose for GPUs, family by family: what they are, that their CUDA C computes what the graph does in any order of threads,
without races, conflicts of banks or narrow accesses, and that nvcc keeps what they hold in registers."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from math import ceil, prod
from typing import Any

import numpy as np
import pytest
from xdsl.ir import SSAValue

from mlc.codegen.cuda.kernel_source import kernel_source
from mlc.codegen.cuda.launches import Launch
from mlc.codegen.cuda.machine_code import compile_files
from mlc.codegen.cuda.source_files import file_text, sources
from mlc.ir import builder as g
from mlc.ir import interpreter
from mlc.ir.kernel.cuda_target import cuda_target
from mlc.ir.kernel.program import CallOp
from mlc.ir.kernel.schedule import Schedule
from mlc.passes.kernel.rules import cuda
from mlc.passes.loops.lower import lower
from mlc.passes.manager import PassManager
from mlc.passes.pipelines import pipeline
from mlc.testing import ORDERS, HostModule, check_races, watch
from mlc.testing.host_build import available
from tests.kernel import hand_made

needs_compiler = pytest.mark.skipif(available() is not None, reason=str(available()))
needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
AMPERE = cuda_target("sm_80")

# family -> shapes of its inputs, what it computes, and how its schedule begins
FAMILIES: dict[str, tuple[list[tuple[int, ...]], Any, str]] = {
    "product": ([(70, 33), (33, 100)], g.matmul, "Level(m = 32 block.x, n = 32 block.y) | Level(k = 16; "),
    "batched": ([(3, 20, 24), (3, 24, 40)], g.matmul, "Level(a = 1 block.x, m = 32 block.x, n = 32 block.y) | Level(k = 16; "),
    "transposed": ([(36, 20), (44, 20)], lambda x, y: g.matmul(x, g.transpose(y, [1, 0])), "Level(m = 32 block.x, n = 32 block.y) | "),
    "one row": ([(1, 50), (50, 300)], g.matmul, "Level(n = 128 block.x) | Level(n = 4 thread.x) | Level(k = 1, n = 4; "),
    "repeated": ([(20, 24), (40,)], lambda x, y: g.matmul(x, g.broadcast_to(y, (24, 40))), "Level(m = 1 block.x, n = 4 block.x) | "),
    "two rows": ([(6, 9, 30), (30, 41)], lambda x, w: g.contract(x, w, "abc,cn->ban"), "Level(b = 4 block.x, a = 8 block.x, n = 32 block.y) | "),
    "convolution": ([(2, 11, 9, 8), (3, 3, 8, 20)], lambda x, w: g.convolution(x, w, "n01c,01co->n01o"), "Level(n = "),
    "strided": ([(1, 15, 15, 5), (3, 3, 5, 36)], lambda x, w: g.convolution(x, w, "n01c,01co->n01o", [2, 2]), "Level(oh = "),
    "depthwise": ([(1, 35, 35, 32), (3, 3, 1, 32)], lambda x, w: g.convolution(x, w, "n01c,01co->n01o", groups=32), "Level(oh = 1 block.x, ow = 32 block.x, g = 32 block.x) | "),
    "pooling": ([(2, 35, 37, 64)], lambda x: g.reduce_window(x, "max", [1, 3, 3, 1], [1, 2, 2, 1]), "Level(d0 = 1 block.x, d1 = 1 block.x, d2 = 16 block.x, d3 = 64 block.x) | "),
    "softmax": ([(6, 300)], lambda x: g.softmax(x, 1), "Level(d0 = 4 block.x) | Level(d0 = 1 thread.y) | Vector(c1 x 128, "),
    "long softmax": ([(3, 2500)], lambda x: g.softmax(x, 1), "Level(d0 = 1 block.x) | Vector(c1 x 1024, unroll d0*c1)"),
    "layer norm": ([(5, 64), (64,), (64,)], lambda x, s, b: g.layer_norm(x, s, b, [1]), "Level(d0 = 4 block.x) | "),
    "sum of rows": ([(3, 6000)], lambda x: g.reduce(x, [1], "sum"), "Level(d0 = 1 block.x) | Vector(c1 x 1024, unroll d0, interleave 4"),
    "sum": ([(7, 1200)], lambda x: g.reduce(x, [0, 1], "sum"), "Vector(c0.c1 x 1024, interleave 4"),
    "chain": ([(5000,), (5000,)], lambda x, y: g.relu(g.add(g.mul(x, y), x)), "Level(d0 = 4096 block.x) | Vector(d0 x 1024, unroll d0)"),
    "whole tiles": ([(8192,), (8192,)], g.add, "Level(d0 = 4096 block.x) | Vector(d0 x 1024, unroll d0)"),
    "short rows": ([(9, 60), (60,)], lambda x, b: g.mul(x, g.broadcast_to(b, (9, 60))), "Level(d0 = 8 block.x) | Level(d0 = 1 thread.y) | "),
    "transpose": ([(50, 70)], lambda x: g.transpose(x, [1, 0]), "Level(d0 = 32 block.x, d1 = 32 block.x; x -> workgroup+1) | "),
}  # fmt: skip


# family -> argument -> elements that are read of it, by the formula of its schedule: an operand of a product for each tile across it, a row as
# often as it is run through
READS: dict[str, dict[int, int]] = {
    "product": {0: 70 * 33 * ceil(100 / 32), 1: 33 * 100 * ceil(70 / 32)},
    "batched": {0: 3 * 20 * 24 * ceil(40 / 32), 1: 3 * 24 * 40},
    "transposed": {0: 36 * 20 * ceil(44 / 32), 1: 44 * 20 * ceil(36 / 32)},
    "one row": {1: 50 * 300},
    "two rows": {0: 6 * 9 * 30 * ceil(41 / 32), 1: 30 * 41 * 3},
    "convolution": {0: 2 * 9 * 7 * 3 * 3 * 8, 1: 3 * 3 * 8 * 20 * ceil(9 / 2)},
    "strided": {0: 7 * 7 * 3 * 3 * 5 * ceil(36 / 32), 1: 3 * 3 * 5 * 36 * ceil(7 / 4)},
    "depthwise": {0: 33 * 33 * 3 * 3 * 32, 1: 33 * 33 * 3 * 3 * 32},
    "pooling": {0: 2 * 17 * 18 * 3 * 3 * 64},
    "softmax": {0: 2 * 6 * 300},
    "long softmax": {0: 2 * 3 * 2500},
    "layer norm": {0: 3 * 5 * 64},
    "sum of rows": {0: 3 * 6000},
    "sum": {0: 7 * 1200},
    "chain": {0: 5000, 1: 5000},
    "whole tiles": {0: 8192, 1: 8192},
    "short rows": {0: 9 * 60, 1: 9 * 60},
    "transpose": {0: 50 * 70},
}
# family -> the arguments whose layout allows 16 bytes for a thread at a time: rows of a multiple of four elements. What is transposed on the way
# while others are multiplied is copied element by element
WIDE: dict[str, set[int]] = {
    "product": {1, 2},
    "batched": {1, 2},
    "transposed": {2},
    "one row": {1, 2},
    "convolution": {0, 1, 2},
    "strided": {1, 2},
    "depthwise": {0, 1, 2},
    "pooling": {0, 1},
    "softmax": {0, 1},
    "long softmax": {0, 1},
    "layer norm": {0, 3, 4, 5},
    "sum of rows": {0},
    "sum": {0},
    "whole tiles": {0, 1, 2},
    "short rows": {0, 1, 2},
}


@dataclass(frozen=True)
class Sample:
    """One kernel with its arrays, the last of which is its result."""

    schedule: str
    launch: Launch
    module: HostModule | None
    arrays: list[np.ndarray]
    want: np.ndarray

    def geometry(self) -> tuple[str, list[int], tuple[int, int, int]]:
        return self.launch.symbol, [int(count) for count in self.launch.grid], self.launch.block


class Samples:
    """All families in one module, so that they are compiled once."""

    def __init__(self) -> None:
        rng = np.random.default_rng(7)
        shapes = {f"{name} {n}": shape for name, row in FAMILIES.items() for n, shape in enumerate(row[0])}
        self.inputs = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
        m = g.module_builder("families")
        with m.function(inputs=[(name, shape, "f32") for name, shape in shapes.items()]) as values:
            left = iter(values)
            m.outputs([(name, make(*[next(left) for _ in given])) for name, (given, make, _) in FAMILIES.items()])
        module = m.finish()
        self.want = dict(zip(FAMILIES, interpreter.run(module, list(self.inputs.values())), strict=True))
        self.module = PassManager(pipeline(2, "cuda:sm_80")).run(module)
        self.files = sources(self.module, AMPERE).files
        texts = {name: (file.text, code.launches) for file in self.files for name, code in file.kernels.items()}
        hosts = {text: HostModule(text) for text, _ in texts.values()} if available() is None else {}
        names = [attr.data["kernel.name"].data for attr in self.module.main.arg_attrs.data]  # type: ignore[union-attr]
        by_value: dict[SSAValue, str] = dict(zip(self.module.main.args, names, strict=True))
        functions = {op.sym_name.data: op for op in self.module.op.ops if "kernel.schedule" in op.attributes}  # type: ignore[attr-defined]
        self.samples: dict[str, Sample] = {}
        for call in self.module.main.walk():
            if not isinstance(call, CallOp):
                continue
            places = [root(value) for value in call.arguments]
            used = [by_value.get(place, "") for place in places]
            (family,) = [name for name in used if name in FAMILIES]
            text, (launch,) = texts[call.kernel]
            want = self.want[family]
            arrays = [
                np.full(want.shape, np.nan, np.float32)
                if name == family
                else self.inputs[name]
                if name
                else np.ascontiguousarray(self.module.weights.get(place.owner.key.data))  # type: ignore[union-attr]
                for name, place in zip(used, places, strict=True)
            ]
            schedule = functions[call.kernel].attributes["kernel.schedule"].data
            self.samples[family] = Sample(schedule, launch, hosts.get(text), arrays, want)


def root(value: SSAValue) -> SSAValue:
    while value.owner is not None and getattr(value.owner, "name", "") == "kernel.view":
        value = value.owner.operands[0]  # type: ignore[union-attr]
    return value


@pytest.fixture(scope="module")
def samples() -> Samples:
    return Samples()


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_has_a_schedule_of_its_own(samples, family) -> None:
    assert samples.samples[family].schedule.startswith(FAMILIES[family][2]), samples.samples[family].schedule


@needs_compiler
@pytest.mark.parametrize("family", FAMILIES)
def test_families_compute_what_the_graph_does_in_any_order_of_threads(samples, family) -> None:
    sample = samples.samples[family]
    for order in ORDERS:
        sample.arrays[-1][...] = np.nan
        sample.module.launch(*sample.geometry(), sample.arrays, order=order)
        np.testing.assert_allclose(sample.arrays[-1], sample.want, rtol=2e-5, atol=2e-5)


@needs_compiler
@pytest.mark.parametrize("family", FAMILIES)
def test_no_blocks_share_elements_and_shared_memory_has_no_conflicts(samples, family) -> None:
    sample = samples.samples[family]
    seen = watch(sample.module, *sample.geometry(), sample.arrays)
    assert not seen.between_blocks()
    ways = {use.ways for use in seen.shared_uses()}
    assert ways <= {0, 1}, seen.shared_uses()


@needs_compiler
@pytest.mark.parametrize("family", READS)
def test_families_read_what_their_formula_says_and_write_once(samples, family) -> None:
    sample = samples.samples[family]
    seen = watch(sample.module, *sample.geometry(), sample.arrays)
    for argument, elements in READS[family].items():
        assert seen.bytes_read(argument) <= 1.1 * 4 * elements, argument
    assert seen.bytes_written(len(sample.arrays) - 1) == sample.arrays[-1].nbytes
    widths = {use.bytes for use in seen.global_uses() if use.argument in WIDE.get(family, ())}
    assert widths <= {16}, seen.global_uses()


@needs_nvcc
def test_nothing_spills_and_as_many_blocks_fit_as_planned_on_two_generations(samples) -> None:
    planned = {
        sample.launch.symbol: (sample.launch, Schedule.parse(sample.schedule)) for sample in samples.samples.values()
    }
    checked = 0
    for code in compile_files([file.text for file in samples.files], ("sm_80", "sm_90a"), "flush", None):
        for symbol, found in code.resources.items():
            launch, schedule = planned[symbol]
            threads = prod(launch.block)
            for arch, row in found.items():
                assert row.spills == row.stack == 0, (symbol, arch, row)
                gpu = cuda_target(arch)
                registers = -(-row.registers // 8) * 8 * -(-threads // 32) * 32
                fit = min(
                    gpu.registers_sm // registers, gpu.threads_sm // threads, gpu.shared_sm // (row.shared + 1024)
                )
                assert fit >= schedule.resident, (symbol, arch, row)
                checked += 1
    assert checked == 2 * len(FAMILIES)


def test_the_largest_tile_fits_twice_on_a_multiprocessor() -> None:
    """128 registers for each of 256 threads, and shared memory to spare."""
    kernel = hand_made.gemm(2048, 2048, 512, weight=False, epilogue=False)
    schedule = cuda.choose(kernel, AMPERE)
    assert schedule.resident == 2 and str(schedule).startswith(
        "Level(m = 128 block.x, n = 128 block.y) | Level(k = 16;"
    )
    done = lower(kernel, Schedule.parse(str(schedule)), AMPERE)
    assert done.threads() == 256
    text = kernel_source(done.functions(), "int").text
    assert "__launch_bounds__(256, 2)" in text and "mlc_load<4>(A_shared" in text and "mlc_store(D" in text


WARPS = (
    "Level(m = 128 block.y, n = 128 block.x) | Level(k = 16; A -> workgroup[1, 0]+8; B -> workgroup+8) | "
    "Level(m = 64 thread.z, n = 32 thread.y) | Mma({})"
)


@needs_compiler
@pytest.mark.parametrize("instruction", ["m16n8k8_tf32", "m16n8k16_bf16", "m16n8k16_f16"])
def test_tensor_cores_give_what_the_interpreter_says(instruction) -> None:
    """On numbers that the type holds exactly; reads of fragments have no conflicts of banks."""
    rng = np.random.default_rng(3)
    a, b = (rng.integers(-8, 9, shape).astype(np.float32) for shape in ((150, 40), (40, 140)))
    done = lower(
        hand_made.gemm(150, 140, 40, weight=False, epilogue=False), Schedule.parse(WARPS.format(instruction)), AMPERE
    )
    found = kernel_source(done.functions(), "int")
    module = HostModule(file_text([found.text], AMPERE))
    (launch,) = found.launches
    geometry = launch.symbol, [int(count) for count in launch.grid], launch.block
    result = np.full((150, 140), np.nan, np.float32)
    for order in ORDERS[:3]:
        result[...] = np.nan
        module.launch(*geometry, [a, b, result], order=order)
        np.testing.assert_array_equal(result, a @ b)
    if instruction == "m16n8k8_tf32":
        assert {use.ways for use in watch(module, *geometry, [a, b, result]).shared_uses()} == {1}


@needs_nvcc
def test_tensor_cores_leave_two_blocks_of_a_multiprocessor_their_registers() -> None:
    done = lower(hand_made.gemm(512, 512, 512, weight=False), Schedule.parse(WARPS.format("m16n8k8_tf32")), AMPERE)
    text = file_text([kernel_source(done.functions(), "int").text], AMPERE)
    (code,) = compile_files([text], ("sm_80", "sm_90a"), "flush", None)
    for row in code.resources["gemm"].values():
        assert row.registers <= 128 and row.spills == row.stack == 0


@needs_compiler
def test_a_product_is_free_of_races(samples) -> None:
    sample = samples.samples["product"]
    check_races(sample.module, *sample.geometry(), sample.arrays).require_clean()


def test_wide_products_too() -> None:
    kernel = hand_made.gemm(64, 1 << 24, 64, weight=False)
    done = lower(kernel, cuda.choose(kernel, AMPERE), AMPERE)
    assert done.launch["block.x"] > 65535 and done.launch.get("block.y", 1) == 1


def test_tall_products_have_their_blocks_along_the_axis_that_has_enough() -> None:
    """Of the axes y and z a grid has 65,535 blocks at most."""
    kernel = hand_made.gemm(1 << 24, 64, 64, weight=False)
    done = lower(kernel, cuda.choose(kernel, AMPERE), AMPERE)
    assert done.launch["block.x"] > 65535 and done.launch["block.y"] == 1
