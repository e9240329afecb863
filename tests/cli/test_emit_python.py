"""`mlc compile --emit python`: the program, its weights beside it, what it replaces, and its verification."""

import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import mlc as package


def run(path: str, *arrays: np.ndarray) -> np.ndarray:
    return runpy.run_path(path)["main"](*arrays)


def inputs() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((3, 4)).astype(np.float32), rng.standard_normal((3, 30)).astype(np.float32)


@pytest.mark.parametrize("words", [["-o", "small.py"], ["--emit", "python"], ["--target", "python"]])
def test_a_program_is_written_with_its_weights(words: list[str], mlc: Callable, small: Path) -> None:
    outcome = mlc("compile", small, *words)
    assert outcome.code == 0 and "wrote      small.py" in outcome.out and "wrote      small.npz" in outcome.out
    assert "relu" in Path("small.py").read_text() and "# shift" in Path("small.py").read_text()
    np.testing.assert_allclose(run("small.py", *inputs()), package.compile(small)(*inputs()), rtol=1e-5)


def test_a_program_is_verified_and_written_again(mlc: Callable, small: Path) -> None:
    for _ in range(2):
        outcome = mlc("compile", small, "--target", "python", "--verify", "interpreter")
        assert outcome.code == 0 and "verify" in outcome.err and "ok" in outcome.err
    assert mlc("compile", small, "-o", "other.py", "--passes", "simplify", "--dump-ir", "ir", "-q").code == 0
    assert Path("ir/01-simplify.mlir").exists() and run("other.py", *inputs()).shape == (3, 30)


def test_a_program_goes_to_standard_output_without_its_weights(mlc: Callable, small: Path) -> None:
    outcome = mlc("compile", small, "--emit", "python", "-o", "-")
    assert (
        outcome.code == 0 and outcome.out.startswith('"""small in NumPy.') and "weights are not written" in outcome.err
    )
    assert mlc("compile", small, "--emit", "python", "-o", "/dev/null").code == 0
    assert not list(Path().glob("*.npz")) and not Path("/dev/null.npz").exists()


@pytest.mark.parametrize("name", ["small.py", "small.npz"])
def test_files_of_someone_else_stay(name: str, mlc: Callable, small: Path) -> None:
    Path(name).write_text("print('mine')\n")
    for words in (["-o", "small.py"], ["--emit", "python"]):
        outcome = mlc("compile", small, *words)
        assert outcome.code == 1 and name in outcome.err and "mlc did not write" in outcome.err
        assert Path(name).read_text() == "print('mine')\n"


@pytest.mark.parametrize("words", [["--emit", "so"], ["--stop-after", "cse"], ["--emit", "mlir"]])
def test_the_target_python_writes_nothing_else(words: list[str], mlc: Callable, small: Path) -> None:
    outcome = mlc("compile", small, "--target", "python", *words)
    assert outcome.code == 1 and "writes NumPy source" in outcome.err
