"""Ranks as processes, over the MPI of this environment: `make test-dist` runs this with MPICH and with Open MPI."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

LAUNCHER = Path(sys.executable).parent / "mpiexec"
pytestmark = pytest.mark.skipif(
    find_spec("mpi4py") is None or not LAUNCHER.exists(), reason="no mpi4py with an MPI here: make test-dist has both"
)
PROGRAM = Path(__file__).parent / "ranks_program.py"
ENVIRONMENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "MPIR_CVAR_CH4_NETMOD": "ofi",  # a container may have the loopback alone, which UCX does not take
    "FI_PROVIDER": "tcp",
    "MLC_NUM_THREADS": "1",
}


def launch(ranks: int, scenario: str, folder: Path, plain: bool = False) -> subprocess.CompletedProcess[str]:
    """The ranks of a scenario, ended after two minutes."""
    lead = [] if plain else ["-m", "mpi4py"]
    command = [LAUNCHER, "-n", ranks, sys.executable, *lead, PROGRAM, scenario, folder]
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.run(
        list(map(str, command)), env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def found(ranks: int, scenario: str, folder: Path) -> list[Any]:
    """What each rank wrote."""
    done = launch(ranks, scenario, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(ranks)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[Any]]:
    """What 1, 2 and 4 ranks found."""
    return {ranks: found(ranks, "train", tmp_path_factory.mktemp(f"train{ranks}")) for ranks in (1, 2, 4)}


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_losses_are_those_of_one_process_within_rounding(trained: dict[int, list[Any]], ranks: int) -> None:
    expected = np.array(trained[1][0]["alone"]["losses"])
    assert expected[-1, 0] < expected[0, 0]
    for each in trained[ranks]:
        np.testing.assert_allclose(each["first"]["losses"], expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_bits_are_the_same_on_every_rank_in_every_run_and_for_every_size_of_buckets(
    trained: dict[int, list[Any]], ranks: int
) -> None:
    first = trained[ranks][0]["first"]
    assert all(each[name] == first for each in trained[ranks] for name in ("first", "again", "small"))


def test_training_goes_on_from_a_checkpoint_with_another_number_of_ranks(tmp_path: Path) -> None:
    saved = found(2, "save", tmp_path)
    (tmp_path / "loader.json").write_text(json.dumps(saved[0]["loader"]))
    (same, other) = found(2, "resume", tmp_path)
    assert same["losses"] == other["losses"] == saved[0]["losses"]
    (alone,) = found(1, "resume", tmp_path)
    np.testing.assert_allclose(alone["losses"], saved[0]["losses"], rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("scenario", "said"),
    [("seeds", "seed, parameters and state: rank 1 and rank 0 differ"), ("shapes", "shapes of the batch: rank 1 and rank 0 differ")],
)
def test_ranks_that_would_do_different_things_are_named_before_the_first_step(
    scenario: str, said: str, tmp_path: Path
) -> None:
    done = launch(2, scenario, tmp_path)
    assert done.returncode != 0
    assert said in done.stderr


@pytest.mark.parametrize("plain", [False, True], ids=["mpi4py", "plain python"])
def test_an_error_on_one_rank_ends_the_job(plain: bool, tmp_path: Path) -> None:
    begin = time.monotonic()
    done = launch(2, "error", tmp_path, plain)
    assert done.returncode != 0 and time.monotonic() - begin < 50  # a wait would give up after 60 s
    assert "no more" in done.stderr
    assert ("started by plain python" in done.stderr) == plain


def test_a_killed_rank_ends_the_job(tmp_path: Path) -> None:
    begin = time.monotonic()
    assert launch(2, "killed", tmp_path).returncode != 0
    assert time.monotonic() - begin < 50


def test_a_wait_gives_up_and_names_bucket_and_rank(tmp_path: Path) -> None:
    done = launch(2, "absent", tmp_path)
    assert done.returncode != 0
    assert "rank 0 of 2 gave up: the sum of bucket 1 was not complete after 1 s" in done.stderr
