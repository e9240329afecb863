"""Packages: what is saved runs again; what is damaged or foreign is named."""

import json
import shutil
import zipfile

import numpy as np
import pytest

from mlc.errors import InvalidModel, MlcError, TargetUnavailable
from mlc.runtime.package import load
from tests.runtime.programs import arg, elementwise

ADD, ADD_CODE = elementwise("add", "fadd")

PROGRAM = f"""
{ADD}
func.func @main({arg("x", "input", ["N", "5"])}, {arg("out", "output", ["N", "5"])}) {{
  %n = kernel.size "N"
  %five = arith.constant 5 : index
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %w = kernel.weight "bias" : memref<5xf32>
  %u = kernel.weight "odd name/0" : memref<5xf32>
  %b = kernel.buffer 0 dims ["N", "5"] : memref<?x5xf32>
  scf.for %i = %zero to %n step %one {{
    %x0 = kernel.row %x[%i] : memref<?x5xf32> to memref<5xf32>
    %b0 = kernel.row %b[%i] : memref<?x5xf32> to memref<5xf32>
    %o0 = kernel.row %out[%i] : memref<?x5xf32> to memref<5xf32>
    kernel.call @add(%x0, %w, %b0, %five) from ["a"] : memref<5xf32>, memref<5xf32>, memref<5xf32>, index
    kernel.call @add(%b0, %u, %o0, %five) from ["b"] : memref<5xf32>, memref<5xf32>, memref<5xf32>, index
  }}
  func.return
}}"""


@pytest.fixture
def exe(build):
    rng = np.random.default_rng(0)
    weights = {key: rng.standard_normal(5).astype(np.float32) for key in ("bias", "odd name/0")}
    return build(PROGRAM, [ADD_CODE], weights, threads=1)


@pytest.fixture
def package(exe, tmp_path):
    path = tmp_path / "model.mlc"
    exe.save(path)
    return path


def test_a_loaded_package_computes_the_same(exe, package):
    again = load(package)
    for n in (0, 1, 9):
        x = np.random.default_rng(n).standard_normal((n, 5)).astype(np.float32)
        np.testing.assert_array_equal(again(x), exe(x))
    assert again.plan == exe.plan
    assert [a.name for a in again.get_inputs()] == ["x"]


def test_weights_are_mapped_on_a_vector_boundary(package):
    again = load(package)
    for array in again.weights.values():
        assert array.ctypes.data % 64 == 0
        assert not array.flags.owndata and not array.flags.writeable


def test_saving_twice_gives_the_same_bytes(exe, tmp_path):
    exe.save(tmp_path / "a.mlc")
    exe.save(tmp_path / "b.mlc")
    assert (tmp_path / "a.mlc").read_bytes() == (tmp_path / "b.mlc").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mlc", "b.mlc"]


def test_sources_name_the_nodes_of_each_kernel(package):
    with zipfile.ZipFile(package) as file:
        assert json.loads(file.read("sources.json")) == {"add": ["a", "b"]}
        assert file.testzip() is None


def test_every_truncation_is_reported(package, tmp_path):
    whole = package.read_bytes()
    cut = tmp_path / "cut.mlc"
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 100, len(whole) - 1):
        cut.write_bytes(whole[:length])
        with pytest.raises(InvalidModel, match=r"truncated|damaged"):
            load(cut)


def test_foreign_files_are_named_as_such(tmp_path):
    with pytest.raises(InvalidModel, match="cannot read .*no such file"):
        load(tmp_path / "nowhere.mlc")
    other = tmp_path / "other.mlc"
    other.write_text("not a package")
    with pytest.raises(InvalidModel, match="is no mlc package"):
        load(other)
    with zipfile.ZipFile(other, "w") as file:
        file.writestr("a.txt", "hello")
    with pytest.raises(InvalidModel, match="is a zip file, but no mlc package"):
        load(other)


def rewritten(package, tmp_path, change):
    """The package with another manifest."""
    path = tmp_path / "changed.mlc"
    with zipfile.ZipFile(package) as old, zipfile.ZipFile(path, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            if info.filename == "manifest.json":
                manifest = json.loads(content)
                change(manifest)
                content = json.dumps(manifest).encode()
            new.writestr(info, content)
    return path


def test_a_package_of_another_format_is_refused(package, tmp_path):
    with pytest.raises(InvalidModel, match="has package format 7, this mlc reads 1"):
        load(rewritten(package, tmp_path, lambda m: m.update(format=7)))


def test_code_for_a_greater_cpu_is_refused_by_feature(package, tmp_path):
    path = rewritten(package, tmp_path, lambda m: m["target"].update(name="future", features="+quantum"))
    with pytest.raises(TargetUnavailable, match="code for future does not run here: this machine has no quantum"):
        load(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.pop("plan"),
        lambda m: m["plan"].update(sizes=["N +"]),
        lambda m: m["plan"]["weights"].append("gone"),
        lambda m: m["objects"].append("code/9.o"),
        lambda m: m["target"].update(lanes_="x"),
    ],
)
def test_a_manifest_that_does_not_fit_is_damage(package, tmp_path, change):
    with pytest.raises(InvalidModel, match="damaged"):
        load(rewritten(package, tmp_path, change))


def test_a_package_that_cannot_be_written_leaves_nothing(exe, tmp_path):
    with pytest.raises(MlcError, match="cannot write"):
        exe.save(tmp_path / "missing" / "model.mlc")
    target = tmp_path / "kept.mlc"
    exe.save(target)
    before = target.read_bytes()
    exe.report["odd"] = {1j: 2}
    with pytest.raises(TypeError):
        exe.save(target)
    assert target.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["kept.mlc"]


def test_a_moved_package_still_runs(package, tmp_path):
    again = load(shutil.move(package, tmp_path / "moved.mlc"))
    assert again(np.ones((2, 5), np.float32)).shape == (2, 5)


def test_flipped_bytes_are_reported_or_harmless(package, tmp_path):
    whole = package.read_bytes()
    rng = np.random.default_rng(7)
    path = tmp_path / "flipped.mlc"
    refused = 0
    for _ in range(150):
        damaged = bytearray(whole)
        for at in rng.integers(0, len(whole), rng.integers(1, 4)):
            damaged[at] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            load(path)
        except MlcError:
            refused += 1
    assert refused > 50
