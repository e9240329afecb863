"""Random ONNX programs: some hundred of them are right; what fails is found, made small and printed."""

import subprocess
import sys

import pytest

from benchmarks.random_programs.__main__ import main, shrink
from benchmarks.random_programs.program import Program, Unfit, draw, model_of
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
from benchmarks.random_programs.guarded import guarded_array
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
