"""Packages: what is saved runs again; what is damaged or foreign is named."""

import json
import shutil
import zipfile

import numpy as np
import pytest

import mlc
from mlc.cli import main
from mlc.errors import InvalidModel, MlcError, TargetUnavailable
from mlc.ir import builder as g
from mlc.runtime.executable import load_package, loaded
from mlc.runtime.package import read
from tests.runtime.packages import rewritten
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
    again = load_package(package)
    for n in (0, 1, 9):
        x = np.random.default_rng(n).standard_normal((n, 5)).astype(np.float32)
        np.testing.assert_array_equal(again(x), exe(x))
    assert again.plan == exe.plan
    assert [a.name for a in again.get_inputs()] == ["x"]


def test_weights_are_mapped_on_a_vector_boundary(package):
    again = load_package(package)
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
            load_package(cut)


def test_foreign_files_are_named_as_such(tmp_path):
    with pytest.raises(InvalidModel, match="cannot read .*no such file"):
        load_package(tmp_path / "nowhere.mlc")
    other = tmp_path / "other.mlc"
    other.write_text("not a package")
    with pytest.raises(InvalidModel, match="is no mlc package"):
        load_package(other)
    with zipfile.ZipFile(other, "w") as file:
        file.writestr("a.txt", "hello")
    with pytest.raises(InvalidModel, match="is a zip file, but no mlc package"):
        load_package(other)


def edited(package, tmp_path, change, sealed=True):
    """The package with another manifest."""

    def manifest(text):
        content = json.loads(text)
        change(content)
        return json.dumps(content)

    return rewritten(package, tmp_path / "changed.mlc", {"manifest": manifest}, sealed)


def test_a_package_of_another_format_is_refused(package, tmp_path):
    with pytest.raises(InvalidModel, match="has package format 7, this mlc reads 4"):
        load_package(edited(package, tmp_path, lambda m: m.update(format=7)))


def test_code_for_a_greater_cpu_is_refused_by_feature(package, tmp_path):
    path = edited(package, tmp_path, lambda m: m["target"].update(name="future", features="+quantum"))
    with pytest.raises(TargetUnavailable, match="code for future does not run here: this machine has no quantum"):
        load_package(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.pop("plan"),
        lambda m: m["plan"].update(sizes=["N +"]),
        lambda m: m["plan"]["weights"].append("gone"),
        lambda m: m["objects"].append("code/9.o"),
        lambda m: m["target"].update(lanes_="x"),
        lambda m: m.update(threads="two"),
        lambda m: m.update(threads=0),
        lambda m: m.update(entry="nowhere"),
        lambda m: m.update(weights=["bias"]),
        lambda m: m["plan"].update(sizes=["(" * 5000]),
    ],
)
def test_a_manifest_that_does_not_fit_is_damage(package, tmp_path, change):
    with pytest.raises(InvalidModel, match="damaged"):
        load_package(edited(package, tmp_path, change))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: p["sizes"].append("Q + 1"), "no input tells the size Q \\+ 1"),
        (lambda p: p["buffers"].append(["4*Q", 0, 1]), "no input tells the size 4\\*Q"),
        (lambda p: p["counted"].update(c="Q"), "no input tells the size Q"),
        (lambda p: p["outputs"][0].update(shape=["Q"]), "no input tells the size Q"),
        (lambda p: p["inputs"][0].update(dtype="f31"), "there is no dtype 'f31'"),
        (lambda p: p["inputs"][0].update(name=7), "7 is no name"),
        (lambda p: p["inputs"].append(p["inputs"][0]), "two inputs have one name"),
        (lambda p: p["symbols"].update(N=[5, 2]), "a size has the bounds 5 and 2"),
        (lambda p: p["state"].update(x="gone"), "the input 'x' is kept between calls"),
        (lambda p: p["indices"].append(["gone", "0", "4", "rows", "[]"]), "positions are tested of 'gone'"),
    ],
)
def test_a_plan_speaks_of_what_is_there(package, tmp_path, change, said):
    path = edited(package, tmp_path, lambda m: change(m["plan"]))
    with pytest.raises(InvalidModel, match=f"damaged: {said}"):
        load_package(path)


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
    again = load_package(shutil.move(package, tmp_path / "moved.mlc"))
    assert again(np.ones((2, 5), np.float32)).shape == (2, 5)


def test_flipped_bytes_are_reported_or_lie_in_padding(package, tmp_path):
    whole = package.read_bytes()
    rng = np.random.default_rng(7)
    path = tmp_path / "flipped.mlc"
    x = np.ones((2, 5), np.float32)
    want, passed = load_package(package)(x), 0
    for _ in range(150):
        damaged = bytearray(whole)
        for at in rng.integers(0, len(whole), rng.integers(1, 4)):
            damaged[at] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            found = read(path)
            found.verify()
        except InvalidModel:
            continue
        passed += 1
        np.testing.assert_array_equal(loaded(found)(x), want)
    assert passed < 75


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("versions", lambda r: r.update(versions=7)),
        ("pipeline", lambda r: r.update(pipeline=[None])),
        ("specialise", lambda r: r.update(specialise=["N"])),
        ("buffers", lambda r: r.update(buffers=[{"makers": [0]}])),
        ("kernels", lambda r: r["kernels"][0].pop("calls")),
        ("kernels", lambda r: r["kernels"][0].update(cost={})),
        ("kernels", lambda r: r["kernels"][0]["calls"][0].update(source="fc")),
    ],
)
def test_a_report_that_no_command_can_read_is_damage(tmp_path, part, change):
    m = g.module_builder("main")
    with m.function(inputs=[("x", (3, 8), "f32")]) as (x,):
        m.outputs([("y", g.softmax(g.exp(x), axis=-1))])
    whole = tmp_path / "whole.mlc"
    mlc.compile(m.finish()).save(whole)

    def report(text):
        content = json.loads(text)
        change(content)
        return json.dumps(content)

    load_package(rewritten(whole, tmp_path / "same.mlc", {"decisions": lambda text: text}))
    with pytest.raises(InvalidModel, match=f"damaged: its report has no {part} that can be read"):
        load_package(rewritten(whole, tmp_path / "changed.mlc", {"decisions": report}))


@pytest.mark.parametrize("member", ["manifest", "module", "code/0", "sources", "decisions"])
def test_an_edit_without_a_new_digest_is_damage(package, tmp_path, member):
    path = tmp_path / "edited.mlc"
    if member == "code/0":
        with zipfile.ZipFile(package) as old, zipfile.ZipFile(path, "w") as new:
            for name in old.namelist():
                content = old.read(name)
                new.writestr(name, content[:-1] + bytes([content[-1] ^ 1]) if name.startswith(member) else content)
    else:
        rewritten(package, path, {member: lambda text: text + " "}, sealed=False)
    with pytest.raises(InvalidModel, match="damaged: it is not what its digest says"):
        load_package(path)


def test_members_that_unpack_to_more_than_a_package_may_hold_are_not_unpacked(package, tmp_path, monkeypatch):
    monkeypatch.setattr("mlc.runtime.package.LARGEST", 1000)
    with pytest.raises(InvalidModel, match="it unpacks to .* bytes of code and plan, and 1000 are allowed"):
        load_package(package)


def test_two_members_of_one_name_are_damage(package):
    with zipfile.ZipFile(package, "a") as file, pytest.warns(UserWarning, match="Duplicate name"):
        file.writestr("sources.json", "{}")
    with pytest.raises(InvalidModel, match="two members of one name"):
        load_package(package)


def test_a_damaged_weight_is_named_when_weights_are_verified(package, exe):
    whole = bytearray(package.read_bytes())
    whole[whole.rindex(exe.weights["odd name/0"].tobytes())] ^= 1
    package.write_bytes(whole)
    load_package(package)  # the weights are mapped, not read
    with pytest.raises(InvalidModel, match="damaged: the weight 'odd name/0' has another checksum"):
        mlc.load_executable(package, verify=True)
    assert main(["check", str(package), "-q"]) == InvalidModel.exit_code


def test_threads_asked_for_at_compile_time_are_kept(package):
    assert load_package(package).threads == 1
    assert load_package(package).threads_asked == 1
    assert load_package(package, threads=2).threads_asked == 2


def test_saving_does_not_write_through_a_link_that_waits_at_its_temporary_name(exe, tmp_path, monkeypatch):
    names = iter(["known", "other"])
    monkeypatch.setattr("mlc.ir.files.secrets.token_hex", lambda count: next(names))
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / ".model.mlc.known.tmp").symlink_to(victim)
    exe.save(tmp_path / "model.mlc")
    assert victim.read_text() == "mine"
    assert read(tmp_path / "model.mlc").plan == exe.plan


def test_a_package_that_is_saved_again_leaves_readers_of_the_old_one_alone(exe, package):
    served = load_package(package)
    x = np.ones((2, 5), np.float32)
    want = served(x)
    exe.save(package)
    np.testing.assert_array_equal(served(x), want)
