"""Random ONNX programs: some hundred of them are right; what fails is found, made small and printed."""

import subprocess
import sys

import numpy as np
import pytest

from benchmarks.random_programs.__main__ import main, shrink
from benchmarks.random_programs.drawing import Program, Unfit, draw, model_of
from benchmarks.random_programs.trial import inputs_of, largest_integer, shaken, trial
from benchmarks.random_programs.worker import Verdict, Worker


@pytest.mark.parametrize("seed", [0, 100])
def test_random_programs_compute_what_onnxruntime_and_the_interpreter_do(seed, capfd):
    assert main(["--count", "100", "--seed", str(seed)]) == 0, capfd.readouterr().out


def test_random_programs_stay_inside_of_their_buffers(capfd):
    assert main(["--guard", "--count", "60", "--seed", "300"]) == 0, capfd.readouterr().out


def test_a_program_is_its_number_and_reads_back_from_its_text():
    for number in range(50):
        program = draw(number)
        assert program == draw(number) == Program.parse(program.text())
        assert model_of(program) == model_of(program)


class FailsWithProducts:
    """Stands for a compiler that gets every product wrong."""

    def attempt(self, program):
        wrong = any(node.op_type == "MatMul" for node in model_of(program).graph.node)
        return Verdict("wrong" if wrong else "right")


def test_what_fails_is_made_small():
    program = next(
        p for p in map(draw, range(999)) if len(p.steps) > 5 and FailsWithProducts().attempt(p).status == "wrong"
    )
    small, verdict = shrink(program, Verdict("wrong"), FailsWithProducts())
    assert verdict.status == "wrong" and len(small.steps) <= 2 and len(small.steps) < len(program.steps)


def test_a_crash_and_an_unfit_step_are_results(monkeypatch):
    worker = Worker()
    assert worker.attempt(draw(1)).status == "right"
    worker.process.kill()
    worker.process.join()
    assert worker.attempt(draw(1)).status == "crash"
    assert worker.attempt(draw(1)).status == "right"  # in a new process
    worker.close()
    program = draw(3)
    with pytest.raises(Unfit):
        model_of(Program(program.dtype, ((),), program.steps))


def test_guarded_memory_ends_the_process_that_leaves_it():
    code = """
import ctypes, numpy as np
from benchmarks.random_programs.guard_pages import guarded_array
x = guarded_array(np.arange(5, dtype=np.float32))
assert x.sum() == 10
print("inside", flush=True)
ctypes.c_char.from_address(x.__array_interface__["data"][0] + x.nbytes + OUTSIDE).value
print("outside", flush=True)
"""
    for outside, said in (("-1", "inside\noutside\n"), ("0", "inside\n")):
        found = subprocess.run(
            [sys.executable, "-c", code.replace("OUTSIDE", outside)], check=False, capture_output=True, text=True
        )
        assert found.stdout == said and (found.returncode == 0) == (said.count("\n") == 2)


@pytest.mark.parametrize(
    "text",
    [
        # the sine of a sum of 35 logarithms, about -120: one unit in the last place of the sum is 7.6e-6 of the result
        (
            '{"dtype":"f32","shapes":[[33,33]],"steps":[{"op":"einsum","operands":[0],"params":{"seed":1069840777}},'
            '{"op":"pad","operands":[1],"params":{"seed":666785369}},'
            '{"op":"affine","operands":[2,2],"params":{"seed":443946729}},'
            '{"op":"softmax","operands":[3],"params":{"seed":69530872}},'
            '{"op":"reduction","operands":[4],"params":{"seed":421091565}},'
            '{"op":"view","operands":[5],"params":{"seed":351823844}},'
            '{"op":"beside","operands":[6],"params":{"seed":433043077}}],"sizes":[1],"level":2,"threads":1}'
        ),
        # a sum of 13 numbers of 4.6e8 is no int32: it wraps, in onnxruntime it does not
        (
            '{"dtype":"i32","shapes":[["N",33],["N",33]],"steps":[{"op":"product","operands":[0],"params":{"seed":874965574}},'
            '{"op":"beside","operands":[2],"params":{"seed":450691938}},'
            '{"op":"beside","operands":[3],"params":{"seed":640520413}},'
            '{"op":"beside","operands":[4],"params":{"seed":444972400}}],"sizes":[13],"level":3,"threads":1}'
        ),
    ],
    ids=["rounding", "wrapping"],
)
def test_what_rounding_or_wrapping_makes_of_a_program_is_no_fault(text):
    program = Program.parse(text)
    (size,) = program.sizes
    arrays = inputs_of(program, size, program.dtype)
    kept = [array.copy() for array in arrays]
    assert trial(program, lambda array: array).status == "right"
    if program.floats:
        assert any(
            not np.array_equal(a, b)
            for a, b in zip(*(results for results in shaken(program, arrays, turns=2)), strict=True)
        )
        assert all(np.array_equal(a, b) for a, b in zip(arrays, kept, strict=True))
    else:
        assert largest_integer(program, size) > 2**31


def test_guarded_temporaries_leave_the_stack():
    code = """
import sys, numpy as np, mlc, mlc.numpy as mnp
from benchmarks.random_programs.guard_pages import guard_memory
from mlc.compiler import Compilation
def softmax(x):
    y = mnp.exp(x - x.max(axis=1, keepdims=True))
    return y / y.sum(axis=1, keepdims=True)
if GUARDED:
    guard_memory()
module = mlc.jit(softmax).trace(np.zeros((5, 3000), np.float32)).module
text = str(Compilation(mlc.CompileOptions()).lower(module))
print("memref.alloca" in text, "scratch" in text)
"""
    for guarded, said in (("False", "True False"), ("True", "False True")):
        found = subprocess.run(
            [sys.executable, "-c", code.replace("GUARDED", guarded)], check=True, capture_output=True, text=True
        )
        assert found.stdout.strip() == said
