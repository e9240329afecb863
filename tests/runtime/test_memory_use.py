"""Memory: what a call takes is known before it, is given back when asked for, is shared where it can be, and nothing stays behind."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mlc
from benchmarks.leaks import resident
from mlc.demo import MODEL
from mlc.ir import builder as g

MIB = 1 << 20

CALL = """
import sys, numpy as np, mlc
from benchmarks.leaks import resident
exe = mlc.load_executable(sys.argv[1])
x = np.ones((64, 2048), np.float32)
exe(x[:1])
exe.trim()
before = resident()
y = exe(np.ones((int(sys.argv[2]), 2048), np.float32)[:0])
x = np.ones((int(sys.argv[2]), 2048), np.float32)
before = resident()
y = exe(x)
after = resident()
del y
freed = exe.trim()
print(after - before, exe.memory_analysis(N=int(sys.argv[2])).call, freed, resident() - before)
"""

SHARE = """
import sys, numpy as np, mlc
from pathlib import Path
exes = [mlc.load_executable(sys.argv[1]) for _ in range(3)]
for exe in exes:
    exe(np.ones((1, 2048), np.float32))
print("ready", flush=True)
sys.stdin.readline()
rows = dict(line.split(":") for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
print(int(rows["Pss_File"].split()[0]) << 10, flush=True)
sys.stdin.readline()
"""

pytestmark = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="tells memory from /proc")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """32 MiB of weights; a call at N rows has two buffers of N * 8 KiB alive, and as much of outputs."""
    m = g.module_builder("wide")
    rng = np.random.default_rng(0)
    with m.function(inputs=[("x", ("N", 2048), "f32")]) as (x,):
        for name in ("a", "b"):
            x = g.softmax(g.matmul(x, g.weight(rng.standard_normal((2048, 2048)).astype(np.float32), name=name)), 1)
        m.outputs([("y", x)])
    path = tmp_path_factory.mktemp("memory") / "wide.mlc"
    mlc.compile(m.finish(), threads=1).save(path)
    return path


def test_a_call_takes_what_the_analysis_says_before_it_and_trim_gives_it_back(package: Path) -> None:
    run = subprocess.run([sys.executable, "-c", CALL, str(package), "8192"], capture_output=True, text=True, check=True)
    taken, stated, freed, left = map(int, run.stdout.split())
    assert abs(taken - stated) <= 0.05 * stated
    assert freed > 0 and left < 2 * MIB


def test_a_trimmed_executable_computes_the_same() -> None:
    exe = mlc.compile(MODEL, threads=1)
    x = np.random.default_rng(0).standard_normal((5, 1, 8, 8)).astype(np.float32)
    want = exe(x)
    assert exe.trim() > 0
    assert exe.trim() == 0
    np.testing.assert_array_equal(exe(x), want)


def test_executables_and_processes_of_one_package_share_its_weights(package: Path) -> None:
    start = [sys.executable, "-c", SHARE, str(package)]
    every = [subprocess.Popen(start, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    try:
        for process in every:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
        shares = []
        for process in every:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write("tell\n")
            process.stdin.flush()
            shares.append(int(process.stdout.readline()))
    finally:
        for process in every:
            process.communicate("done\n")
    weights = 32 * MIB  # nine executables; libraries are files too, and are shared as well
    assert sum(shares) < 5 * weights
    assert all(share < 2 * weights for share in shares)


def test_loading_again_and_again_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "digits.mlc"
    mlc.compile(MODEL, threads=1).save(path)
    x = np.zeros((2, 1, 8, 8), np.float32)

    def rounds(count: int) -> int:
        for _ in range(count):
            mlc.load_executable(path)(x)
        return resident()

    before = rounds(100)
    assert rounds(300) - before < 300 * 2000
