"""The benchmark of GPUs takes every part at tiny sizes."""

import re

import pytest

from benchmarks import gpu
from mlc.ir import gpus
from tests.runtime.cuda.stand_in import StandIn


def test_every_part_runs_dry(
    cuda: StandIn, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "driver", lambda: gpus.Driver(True, "13.0", (gpus.Gpu("Stand-in", 90, 1 << 30),)))
    gpu.main(["--dry"])
    said = capsys.readouterr().out
    for text in ("cuBLAS", "8x8x4 -> 8, 3x3", "softmax 4 x 8", "digits", "a CUDA graph", "launch by launch"):
        assert text in said
    errors = [float(found) for found in re.findall(r"\d\.\de[+-]\d\d", said)]
    assert len(errors) >= 5 and max(errors) < 1e-2


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "driver", lambda: gpus.Driver(False, error="libcuda.so.1 is not there"))
    with pytest.raises(SystemExit, match="no NVIDIA GPU: libcuda.so.1 is not there"):
        gpu.main([])
