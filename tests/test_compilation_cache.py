"""Whole compilations on disk: found where nothing has changed, and never where anything has."""

from __future__ import annotations

import dataclasses
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import mlc
from mlc import compilation_cache
from mlc.cli import main
from mlc.ir import builder as g
from mlc.ir import outsiders
from mlc.ir.kernel.schedule_store import ScheduleStore, StoredSchedule
from mlc.ir.weight_origin import Move
from mlc.options import CompileOptions
from mlc.provenance import add_files

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 3, 6, 6)).astype(np.float32)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, in a process that nothing was registered in."""
    monkeypatch.setenv("MLC_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(outsiders, "_names", {})
    return tmp_path / "cache"


def weights(seed: int = 1) -> dict[str, np.ndarray]:
    """A convolution, the normalisation that is folded into it, and a matrix that is only packed."""
    rng = np.random.default_rng(seed)
    shapes = {"w": (40, 3, 3, 3), "scale": (40,), "b": (40,), "mean": (40,), "var": (40,), "fc": (40, 50)}
    return {name: rng.uniform(0.5, 1.5, shape).astype(np.float32) for name, shape in shapes.items()}


def model(arrays: dict[str, np.ndarray] | None = None, epsilon: float = 1e-5) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "scale", "b", "mean", "var"], ["n"], epsilon=epsilon),
        helper.make_node("Relu", ["n"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "fc"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 50])],
        [numpy_helper.from_array(array, name) for name, array in (arrays or weights()).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def is_warm(exe: Any) -> bool:
    return exe.report.get("warm") == compilation_cache.WARM


def right(exe: Any, proto: onnx.ModelProto) -> None:
    """The answer of a compilation that nothing was kept of."""
    np.testing.assert_array_equal(exe(X), mlc.compile(proto, cache=False)(X))


def test_the_second_compilation_of_a_file_is_the_first(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(model(), path)
    first, second = mlc.compile(path), mlc.compile(path)
    assert not is_warm(first) and is_warm(second)
    right(second, model())
    assert second.report["objects"]["compiled"] == 0 and second.report["passes"] == []
    for name in ("kernels", "pipeline", "sha256", "source", "target", "versions"):
        assert second.report[name] == first.report[name]
    for number, exe in enumerate((first, second)):
        exe.save(tmp_path / f"{number}.mlc")
    assert (tmp_path / "0.mlc").read_bytes() == (tmp_path / "1.mlc").read_bytes()


@pytest.mark.parametrize(
    "source",
    [
        lambda folder: model().SerializeToString(),
        lambda folder: model(),
        lambda folder: mlc.load(model()),
        lambda folder: written_text(folder),
    ],
    ids=["bytes", "proto", "module", "text"],
)
def test_models_of_every_kind_are_found_again(source: Callable[[Path], Any], tmp_path: Path) -> None:
    mlc.compile(source(tmp_path))
    again = mlc.compile(source(tmp_path))
    assert is_warm(again)
    right(again, model())


def written_text(folder: Path) -> Path:
    assert main(["compile", written(folder), "-q", "-o", str(folder / "m.mlir"), "--stop-after", "simplify"]) == 0
    return folder / "m.mlir"


def written(folder: Path, proto: onnx.ModelProto | None = None) -> str:
    onnx.save(proto or model(), folder / "m.onnx")
    return str(folder / "m.onnx")


def changed(name: str) -> dict[str, np.ndarray]:
    """The weights with one number changed, the last of one of them."""
    found = weights()
    found[name].reshape(-1)[-1] += 1
    return found


def test_other_numbers_in_a_module_make_another_key() -> None:
    modules = [mlc.load(model()), *[mlc.load(model(changed(name))) for name in weights()]]
    asked = [compilation_cache.of_module(CompileOptions(), module) for module in modules]
    assert None not in asked and len({each.key for each in asked if each}) == len(modules)


@pytest.mark.parametrize("name", ["var", "fc"])
def test_other_numbers_in_a_file_are_another_compilation(name: str, tmp_path: Path) -> None:
    mlc.compile(written(tmp_path))
    exe = mlc.compile(written(tmp_path, model(changed(name))))
    assert not is_warm(exe)
    right(exe, model(changed(name)))


def test_another_graph_is_another_compilation(tmp_path: Path) -> None:
    mlc.compile(written(tmp_path))
    exe = mlc.compile(written(tmp_path, model(epsilon=0.5)))
    assert not is_warm(exe)
    right(exe, model(epsilon=0.5))


def test_weights_in_files_beside_the_model_count(tmp_path: Path) -> None:
    def save(arrays: dict[str, np.ndarray]) -> str:
        (tmp_path / "m.bin").unlink(missing_ok=True)
        path = str(tmp_path / "m.onnx")
        onnx.save(model(arrays), path, save_as_external_data=True, location="m.bin", size_threshold=0)
        return path

    mlc.compile(save(weights()))
    exe = mlc.compile(save(weights()))
    assert is_warm(exe)
    right(exe, model())
    exe = mlc.compile(save(changed("fc")))
    assert not is_warm(exe)
    right(exe, model(changed("fc")))


OTHER: dict[str, Any] = {
    "target": "cuda",
    "arch": "x86-64-v3",
    "shapes": {"x": (2, 3, 6, 6)},
    "dims": {"N": (1, 4)},
    "specialise": [{"N": 2}],
    "known": {"k": np.arange(3)},
    "until": "conv",
    "threads": 3,
    "opt_level": 1,
    "passes": "decompose",
    "disable_passes": ["cse"],
    "memory_budget": 1 << 20,
    "precision": "tf32",
    "keep_f32": ["conv"],
    "check_indices": False,
    "denormals": "keep",
    "tune_store": ScheduleStore((StoredSchedule("cpu a", "0123", "Scalar", "Scalar", 1.5),)),
    "settings": {"winograd": "off"},
}


def test_every_option_makes_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(compilation_cache.DESCRIBED, "cuda", lambda arch: "a GPU")
    assert OTHER.keys() == {f.name for f in dataclasses.fields(CompileOptions)} - {"cache", "verify_each"}
    several = {name: [value] for name, value in OTHER.items()}
    several["known"] += [{"k": np.arange(1, 4)}, {"k": np.arange(3, dtype=np.int32)}, {"j": np.arange(3)}]
    several["dims"] += [{"N": (1, 5)}, {"N": 1}, {"M": (1, 4)}]
    several["passes"] += [["decompose", "cse"], "decompose,cse"]
    module, keys = mlc.load(model()), []
    for given in [{}, *[{name: value} for name, values in several.items() for value in values]]:
        options = CompileOptions.of(**given)
        for asked in (compilation_cache.request(options, b"model"), compilation_cache.of_module(options, module)):
            assert asked is not None
            keys.append(asked.key)
    assert len(set(keys)) == len(keys)
    for name in ("cache", "verify_each"):
        options = CompileOptions.of(**{name: name != "cache"})
        assert compilation_cache.request(options, b"model") is None
        assert compilation_cache.of_module(options, module) is None


def test_a_machine_that_is_described_otherwise_has_other_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    first = compilation_cache.request(CompileOptions(), b"model")
    monkeypatch.setitem(compilation_cache.DESCRIBED, "cpu", lambda arch: "another machine")
    other = compilation_cache.request(CompileOptions(), b"model")
    assert first is not None and other is not None and first.key != other.key


class Digest:
    def __init__(self) -> None:
        self.content = b""

    def update(self, more: bytes) -> None:
        self.content += more


def test_every_file_of_mlc_is_part_of_the_key(tmp_path: Path) -> None:
    def digest() -> bytes:
        found = Digest()
        assert add_files(found, tmp_path, time.time() + 1)
        return found.content

    (tmp_path / "passes").mkdir()
    (tmp_path / "passes" / "fold.py").write_text("a = 1\n")
    (tmp_path / "device.cuh").write_text("int a;\n")
    seen = [digest()]
    for name, text in (("passes/fold.py", "a = 2\n"), ("device.cuh", "int b;\n"), ("new.py", "")):
        (tmp_path / name).write_text(text)
        seen.append(digest())
    (tmp_path / "new.py").rename(tmp_path / "old.py")
    seen.append(digest())
    assert len(set(seen)) == len(seen)
    assert not add_files(
        Digest(), tmp_path, time.time() - 60
    )  # changed while the process runs: what it runs may be older


def test_code_from_outside_is_never_kept() -> None:
    class Mine(mlc.Pass):
        name = "mine"

        def run(self, module: mlc.Module) -> None:
            raise NotImplementedError

    assert compilation_cache.request(CompileOptions.of(passes=[Mine()]), b"model") is None
    outsiders.note("an op of mlc", CompileOptions)
    assert compilation_cache.request(CompileOptions(), b"model") is not None
    outsiders.note("the pass mine", Mine)
    assert compilation_cache.request(CompileOptions(), b"model") is None
    assert compilation_cache.of_module(CompileOptions(), mlc.load(model())) is None


def test_a_damaged_record_is_made_again_with_a_word(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = written(tmp_path)
    mlc.compile(path)
    asked = compilation_cache.request(CompileOptions(), path)
    assert asked is not None
    records = compilation_cache.stored()
    file = records.path(asked.key)
    whole = file.read_bytes()
    for damaged in (whole[:-1], whole[: len(whole) // 2], b"", whole[:100] + bytes([whole[100] ^ 1]) + whole[101:]):
        file.write_bytes(damaged)
        caplog.clear()
        assert compilation_cache.find(asked) is None and "damaged" in caplog.text
    for content in (b"", b"{}\n", b"[]\n", b'{"format": 0}\n', whole[32:].replace(b'"plan"', b'"flan"')):
        records.put(asked.key, content)  # by another version, or an error of ours
        caplog.clear()
        assert compilation_cache.find(asked) is None and "done again" in caplog.text
    exe = mlc.compile(path)
    assert not is_warm(exe)
    right(exe, model())
    assert is_warm(mlc.compile(path))


def test_a_file_that_changes_meanwhile_is_not_taken_for_what_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = written(tmp_path), model(weights(3))
    find = compilation_cache.find

    def change(asked: compilation_cache.Request) -> compilation_cache.Found | None:
        """Behind the back of the compilation, which has looked at the file already."""
        found = find(asked)
        written(tmp_path, other)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(compilation_cache, "find", change)
        right(mlc.compile(path), other)
    exe = mlc.compile(path)
    assert not is_warm(exe)
    right(exe, other)


def test_weights_can_be_replaced_after_a_warm_start() -> None:
    """Those that are packed, those that were computed, and those that have become code."""
    a, w, b, c = (RNG.standard_normal(shape).astype(np.float32) for shape in ((7, 40), (33, 40), (33,), (20,)))

    def linear() -> mlc.Module:
        m = g.module_builder("linear")
        with m.function(inputs=[("x", ("N", 40), "f32")]) as (x,):
            product = g.matmul(x, g.transpose(g.weight(w, "w"), [1, 0]))
            bias = g.mul(bias := g.weight(b, "b"), g.full_like(bias, 2.0))
            total = g.add(product, g.broadcast_to(bias, g.shape_of(product)))
            factor = g.reduce(g.weight(c, "c"), [0], "sum")  # one number, which stands in the text
            m.outputs([("y", g.mul(total, g.broadcast_to(factor, g.shape_of(total))))])
        return m.finish()

    cold = mlc.compile(linear())
    for _ in range(2):  # what is replaced in one leaves no trace in the next
        module = linear()
        warm = mlc.compile(module)
        assert is_warm(warm)
        np.testing.assert_array_equal(warm(a), cold(a))
        module.weights.replace("w", 2 * w)
        module.weights.replace("b", b + 1)
        warm.refresh()
        np.testing.assert_array_equal(warm(a), mlc.compile(module, cache=False)(a))
        module.weights.replace("b", b + 2)
        warm.refresh()
        np.testing.assert_array_equal(warm(a), mlc.compile(module, cache=False)(a))
        module.weights.replace("c", 2 * c)
        with pytest.raises(mlc.MlcError, match="'c' was replaced, and its numbers have become a part of the code"):
            warm.refresh()


def test_moves_are_what_the_ops_do() -> None:
    x = np.arange(24).reshape(2, 3, 4)
    np.testing.assert_array_equal(Move("transpose", (2, 0, 1))(x), x.transpose(2, 0, 1))
    np.testing.assert_array_equal(Move("reshape", (6, 4))(x), x.reshape(6, 4))
    np.testing.assert_array_equal(Move("slice", (1, 2, 0, 1, -1, 2, 1, 3, 2))(x), x[1:2, ::-1, ::2])
    assert Move("slice", (0, 0, 0, 1, 1, 1, 2, 0, 4))(x).shape == (2, 0, 4)


def test_the_command_writes_the_same_package_and_imports_none_of_what_compiles(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert main(["compile", path, "-q", "-o", str(tmp_path / "cold.mlc")]) == 0
    program = "import sys; from mlc.cli import main; main(sys.argv[1:]); print(*{'xdsl', 'onnx', 'llvmlite'} & sys.modules.keys())"
    command = [sys.executable, "-c", program, "compile", path, "-o", str(tmp_path / "warm.mlc")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert compilation_cache.WARM in done.stderr
    assert done.stdout.splitlines()[-1] == ""
    assert (tmp_path / "cold.mlc").read_bytes() == (tmp_path / "warm.mlc").read_bytes()


def test_checksums_of_weights_are_taken_once_for_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def package(path: str) -> bytes:
        out = tmp_path / "m.mlc"
        assert main(["compile", path, "-q", "-o", str(out)]) == 0
        mlc.load_executable(out, verify=True)
        return out.read_bytes()

    def refuse(content: memoryview) -> str:
        raise AssertionError

    path = written(tmp_path)
    cold, warm = package(path), package(path)
    with monkeypatch.context() as patch:
        patch.setattr("mlc.runtime.package._checksum", refuse)
        assert package(path) == warm == cold
    written(tmp_path, model(changed("fc")))
    assert len({package(path) for _ in range(3)} - {cold}) == 1


def test_who_looks_at_the_passes_has_them_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = written(tmp_path), str(tmp_path / "m.mlc")
    for flags in ([], ["--print-ir-after", "fuse"], ["--time-passes"], ["--dump-ir", str(tmp_path / "ir")]):
        assert main(["compile", path, "-q", "-o", out, *flags]) == 0
        said = capsys.readouterr()
        assert not flags or "fuse" in said.out + said.err or any((tmp_path / "ir").glob("*-fuse.mlir"))
    assert main(["compile", path, "-o", out, "--no-cache"]) == 0
    assert compilation_cache.WARM not in capsys.readouterr().err
    assert main(["compile", path, "-o", out]) == 0
    assert compilation_cache.WARM in capsys.readouterr().err


def test_what_is_too_large_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    monkeypatch.setattr(compilation_cache, "LARGEST", 100)
    path = written(tmp_path)
    with caplog.at_level(logging.INFO):
        mlc.compile(path)
    assert "not kept" in caplog.text
    assert not is_warm(mlc.compile(path))
