"""Random modules through the whole road: fusion, kernels, loops and native code give what the imported graph gives, at any size."""

import numpy as np
from hypothesis import given, settings

import mlc
from mlc.ir import builder as g
from mlc.ir.interpreter import run
from mlc.ir.kernel.interpreter import run_program
from mlc.ir.module import Module
from mlc.ir.samples import random_inputs
from mlc.passes.check import relative_error
from mlc.passes.graph.fuse import Fuse
from mlc.passes.kernel.outline import outline
from mlc.passes.kernel.specialise import Specialise
from mlc.passes.manager import PassManager
from mlc.passes.stages import stage_of
from tests.passes.graphs import modules

SIZES = (0, 1, 2, 5)


def test_kernels_that_are_plain_loops_from_the_beginning_are_kernels():
    m = g.module_builder("counted")
    with m.function(inputs=[("x", ("N",), "bool")]) as (x,):
        m.outputs([("y", g.nonzero(x))])
    program = PassManager("decompose,fuse,outline").run(m.finish())
    assert stage_of(program) == "kernels"
    assert stage_of(PassManager("specialise{sizes=N@2}").run(program)) == "kernels"
    assert stage_of(PassManager("schedule,lower").run(program)) == "loops"


def agree(found: list[np.ndarray], want: list[np.ndarray]) -> None:
    for got, expected in zip(found, want, strict=True):
        assert got.shape == expected.shape and got.dtype == expected.dtype
        assert relative_error(got, expected) <= 2e-4


@settings(max_examples=40)
@given(modules())
def test_fused_groups_and_their_kernels_keep_the_meaning(module):
    fused = PassManager(["decompose", "expand-padding"], verify_each=True).run(module)
    Fuse().run(fused)
    fused.verify()
    program = outline(fused)
    program.verify()
    special = PassManager([Specialise("N@2;N@0" if module.symbols else "")], verify_each=True).run(program)
    for made in (program, special):
        assert str(Module.parse(str(made), made.weights)) == str(made)
    for size in SIZES:
        inputs = random_inputs(module, {"N": size}, seed=size)
        want = run(module, inputs)
        agree(run(fused, inputs), want)
        agree(run_program(program, inputs), want)
        agree(run_program(special, inputs), want)


@settings(max_examples=25)
@given(modules())
def test_native_code_keeps_the_meaning(module):
    executable = mlc.compile(module, threads=2, specialise=[{symbol: 5} for symbol in module.symbols])
    for size in SIZES:
        inputs = random_inputs(module, {"N": size}, seed=size)
        found = executable.run(None, dict(zip(module.input_names, inputs, strict=True)))
        agree(found, run(module, inputs))
