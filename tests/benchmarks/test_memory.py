"""What is stated of memory before a first call is what it takes, in a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

import mlc
from benchmarks import memory
from mlc.demo import MODEL

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="tells memory from /proc")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("memory") / "small.mlc"
    mlc.compile(MODEL).save(path)
    return path


@pytest.mark.parametrize("name", memory.BUILT)
def test_the_first_call_takes_what_is_stated_before_it(name: str, small: Path, tmp_path: Path) -> None:
    build, sizes = memory.BUILT[name]
    mlc.compile(build()).save(tmp_path / "model.mlc")
    found = memory.measure(tmp_path / "model.mlc", sizes, small)
    assert found.stated > 40 * memory.MIB  # so that a twentieth is more than the noise of an interpreter
    assert abs(found.grown - found.stated) <= memory.SHARE * found.stated, found
