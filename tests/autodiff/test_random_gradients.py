"""Gradients of random programs, against differences (and PyTorch, where it is installed)."""

from benchmarks.random_gradients import main


def test_no_gradient_of_a_random_program_is_wrong(capsys) -> None:  # type: ignore[no-untyped-def]
    assert main(["--count", "30", "--seed", "5"]) == 0, capsys.readouterr().out
