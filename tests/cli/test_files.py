"""What commands write: nothing that they were not asked for, complete or not at all, and every file is named."""

import json
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from mlc.cli import main
from mlc.compiler import compile, load, load_executable
from mlc.errors import InvalidModel, MlcError
from mlc.ir.files import replacing, write_text
from mlc.passes.manager import PassManager
from mlc.runtime.package import from_bytes


def arrays(size: int = 3) -> dict[str, np.ndarray]:
    return {"x": np.ones((size, 4), np.float32), "z": np.ones((size, 30), np.float32)}


def test_a_device_keeps_its_kind(mlc: Callable, small: Path) -> None:
    for kind in ("package", "mlir", "llvm"):
        assert mlc("compile", small, "-o", "/dev/null", "--emit", kind, "-q").code == 0
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert not Path("/dev/null.safetensors").exists()


def test_a_fifo_is_written_into(mlc: Callable, small: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    assert mlc("compile", small, "--emit", "llvm", "-o", "pipe", "-q").code == 0
    reader.join(20)
    assert b"define" in found[0] and stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_link_stays_and_the_file_it_names_is_replaced(mlc: Callable, small: Path, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "real.mlc").write_text("old")
    (tmp_path / "store" / "real.mlc").chmod(0o640)
    (tmp_path / "link.mlc").symlink_to("store/real.mlc")
    assert mlc("compile", small, "-o", "link.mlc", "-q").code == 0
    assert (tmp_path / "link.mlc").is_symlink() and load_executable("store/real.mlc").get_inputs()
    assert stat.S_IMODE((tmp_path / "store" / "real.mlc").stat().st_mode) == 0o640


def test_a_dash_is_standard_output_and_messages_go_beside_it(
    small: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    capfdbinary.readouterr()
    assert main(["compile", str(small), "-o", "-"]) == 0
    said = capfdbinary.readouterr()
    assert said.out.startswith(b"PK") and b"codegen" in said.err
    (tmp_path / "through.mlc").write_bytes(said.out)
    assert load_executable(tmp_path / "through.mlc").get_outputs()[0].name == "y"


def test_json_and_an_output_on_standard_output_exclude_each_other(mlc: Callable, small: Path) -> None:
    assert mlc("compile", small, "--emit", "mlir", "-o", "-", "--json").code == 1


def test_weights_beside_ir_text_replace_nothing_that_mlc_did_not_write(mlc: Callable, small: Path) -> None:
    foreign = Path("small.safetensors")
    foreign.write_bytes(b"weights of the user")
    for words in (["compile", small, "--emit", "mlir"], ["opt", small, "-o", "small.mlir"]):
        outcome = mlc(*words)
        assert outcome.code == 1 and "small.safetensors" in outcome.err and "codegen" not in outcome.err
        assert foreign.read_bytes() == b"weights of the user" and not Path("small.mlir").exists()
    foreign.unlink()
    for _ in range(2):  # its own it replaces
        outcome = mlc("compile", small, "--emit", "mlir")
        assert outcome.code == 0 and "small.mlir" in outcome.out and "small.safetensors" in outcome.out


@pytest.mark.parametrize("kind", ["package", "mlir", "llvm"])
def test_a_default_name_takes_no_place_of_a_file_of_the_user(mlc: Callable, small: Path, kind: str) -> None:
    name = {"package": "small.mlc", "mlir": "small.mlir", "llvm": "small.ll"}[kind]
    Path(name).write_text("mine")
    outcome = mlc("compile", small, "--emit", kind)
    assert outcome.code == 1 and f"-o {name}" in outcome.err and Path(name).read_text() == "mine"
    assert mlc("compile", small, "--emit", kind, "-o", name).code == 0
    assert mlc("compile", small, "--emit", kind).code == 0


@pytest.mark.parametrize(
    "flags",
    [
        ["-o", "a.mlc", "--trace", "a.mlc"],
        ["-o", "a.so", "--header", "a.so"],
        ["-o", "a.so", "--header", "a.h", "--trace", "./a.h"],
        ["-o", "a.mlc", "--trace", "small.onnx"],
        ["-o", "in.npz"],
        ["-o", "."],
        ["-o", "folder/"],
        ["-o", "a.mlc", "--header", "a.h"],
        ["-o", "a.mlc", "--trace", "none/t.json"],
    ],
)
def test_outputs_that_collide_are_refused_before_the_work(mlc: Callable, small: Path, flags: list[str]) -> None:
    np.savez("in.npz", **arrays())
    before = {p: p.read_bytes() for p in Path().iterdir() if p.is_file()}
    outcome = mlc("compile", small, "--input", "in.npz", *flags)
    assert outcome.code == 1 and "import" not in outcome.err
    assert {p: p.read_bytes() for p in Path().iterdir() if p.is_file()} == before


def test_inputs_are_tested_before_the_work(mlc: Callable, small: Path) -> None:
    np.save("bad.npy", np.ones((3, 5), np.float32))
    for verb in ("compile", "run", "bench"):
        for value in ("x=@bad.npy", "x=@none.npy", "q=1"):
            outcome = mlc(verb, small, "--input", value)
            assert outcome.code == 1 and "codegen" not in outcome.err, (verb, value)


def test_outputs_of_a_run_replace_no_input(mlc: Callable, tmp_path: Path) -> None:
    node = onnx.helper.make_node("Neg", ["x"], ["y"])
    value = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [3]) for n in "xy"]
    graph = onnx.helper.make_graph([node], "g", value[:1], value[1:])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9), "m.onnx")
    Path("data").mkdir()
    np.save("data/y.npy", np.ones(3, np.float32))
    outcome = mlc("run", "m.onnx", "--input", "x=@data/y.npy", "--save-output", "data")
    assert outcome.code == 1 and "y.npy" in outcome.err
    assert np.load("data/y.npy").tolist() == [1, 1, 1]


def test_outputs_whose_names_differ_have_files_that_differ(mlc: Callable) -> None:
    text = """
    <ir_version: 9, opset_import: ["" : 17]>
    two (float[3] x) => (float[3] a, float[3] b) { a = Neg(x)  b = Abs(x) }
    """
    model = onnx.parser.parse_model(text)
    for old, new in (("a", "out/1"), ("b", "out:1")):
        for field in (model.graph.node[0].output, model.graph.node[1].output):
            field[:] = [new if name == old else name for name in field]
        for output in model.graph.output:
            output.name = new if output.name == old else output.name
    Path("m.onnx").write_bytes(model.SerializeToString())
    assert mlc("run", "m.onnx", "--input", "x=-2", "--save-output", "o").code == 0
    assert (
        sorted(float(np.load(path)[0]) for path in Path("o").iterdir()) == [2.0, 2.0]
        and len(list(Path("o").iterdir())) == 2
    )


def test_a_dump_leaves_files_of_the_user_and_takes_the_place_of_the_one_before(mlc: Callable, small: Path) -> None:
    folder = Path("ir")
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    assert "ir/index.html" in mlc("compile", small, "--dump-ir", "ir", "-q").out
    many = sorted(path.name for path in folder.glob("*.mlir"))
    assert mlc("compile", small, "-O0", "--dump-ir", "ir", "-q").code == 0
    few = sorted(path.name for path in folder.glob("*.mlir"))
    assert len(few) < len(many) and (folder / "notes.txt").read_text() == "mine"
    passes = [name for name in few if "-level-" not in name]
    assert len({name.split("-")[0] for name in passes}) == len(passes) < len(few)


def test_a_dump_replaces_no_level_of_the_user(mlc: Callable, small: Path) -> None:
    mlc("compile", small, "--dump-ir", "first", "-q")
    name = min(path.name for path in Path("first").glob("*-level-*.mlir"))
    Path("ir").mkdir()
    Path("ir", name).write_text("mine")
    outcome = mlc("compile", small, "--dump-ir", "ir")
    assert outcome.code == 1 and name in outcome.err
    assert Path("ir", name).read_text() == "mine"


@pytest.mark.parametrize("name", ["weights.safetensors", "index.html", "00-input.mlir"])
def test_a_dump_replaces_no_file_of_the_user(mlc: Callable, small: Path, name: str) -> None:
    Path("ir").mkdir()
    Path("ir", name).write_text("mine")
    outcome = mlc("compile", small, "--dump-ir", "ir")
    assert outcome.code == 1 and name in outcome.err
    assert [(p.name, p.read_text()) for p in Path("ir").iterdir()] == [(name, "mine")]
    with pytest.raises(MlcError, match=name):
        PassManager("decompose,dce", dump="ir").run(load(small))


def test_every_file_is_named(mlc: Callable, small: Path) -> None:
    outcome = mlc("compile", small, "-o", "a.so", "--header", "a.h", "--trace", "t.json", "-q")
    assert outcome.code == 0 and all(name in outcome.out for name in ("a.so", "a.h", "t.json"))
    found = json.loads(mlc("compile", small, "-o", "b.mlir", "--json").out)
    assert found["written"] == ["b.mlir", "b.safetensors"]
    assert "r.json" in mlc("run", small, "--trace", "r.json", "-q").out
    assert "b.json" in mlc("bench", small, "--seconds", "0.01", "--trace", "b.json", "-q").out
    assert "o.mlir" in mlc("opt", small, "-o", "o.mlir").out


def test_a_file_that_cannot_be_written_leaves_nothing_behind(small: Path, tmp_path: Path) -> None:
    executable = compile(small)
    for target in (tmp_path / "none" / "x.mlc", tmp_path):
        with pytest.raises(MlcError, match="cannot write"):
            executable.save(target)
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "half.txt") as path:
        path.write_text("half")
        raise ZeroDivisionError
    assert sorted(p.name for p in tmp_path.iterdir()) == ["small.onnx"]


def test_a_link_to_nowhere_makes_the_file_it_names(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("target")
    write_text(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "target").read_text() == "text"


def test_messages_name_a_path_once_and_no_temporary_file(
    mlc: Callable, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert mlc("compile", small, "-o", "none/here.mlc").err.count("none") == 1
    linker = tmp_path / "linker"
    linker.write_text('#!/bin/sh\necho "no room for $*" >&2\nexit 1\n')
    linker.chmod(0o755)
    monkeypatch.setenv("CC", str(linker))
    outcome = mlc("compile", small, "--emit", "so", "-o", "libsmall.so", "-q")
    assert outcome.code == 4 and "0.o" in outcome.err and "mlc-" not in outcome.err
    with pytest.raises(InvalidModel, match="^the package in memory is no mlc package") as caught:
        from_bytes(b"junk")
    assert "mlc-" not in str(caught.value)


def with_external_data(name: str) -> None:
    """model.onnx, whose weight lies in a file of this name, and at its beginning."""
    weight = onnx.numpy_helper.from_array(np.arange(4, dtype=np.float32), "w")
    value = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [4]) for n in "xy"]
    node = onnx.helper.make_node("Add", ["x", "w"], ["y"])
    graph = onnx.helper.make_graph([node], "g", value[:1], value[1:], [weight])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, "model.onnx", save_as_external_data=True, location=name, size_threshold=0)


@pytest.mark.parametrize(
    "command",
    [
        "compile model.onnx -o w.mlc",
        "compile model.onnx --emit mlir -o w.mlir",
        "compile model.onnx -o a.so --header w.h",
        "compile model.onnx --trace w.json",
        "opt model.onnx --passes dce -o w.mlir",
        "run model.onnx --trace w.json",
        "run model.onnx --save-output .",
        "bench model.onnx --trace w.json",
        "reduce model.onnx --while false -o w.onnx",
        "compile model.onnx --load w.py -o w.py",
        "run package.mlc --reference model.onnx --trace w.json",
    ],
)
def test_no_output_replaces_what_the_command_reads(mlc: Callable, command: str) -> None:
    name = next(
        word for word in ("w.mlc", "w.h", "w.json", "w.mlir", "w.onnx", "w.py", "y.npy") if word in f"{command} y.npy"
    )
    with_external_data("data.bin" if name == "w.py" else name)
    Path("w.py").write_text("")
    if "package" in command:
        assert mlc("compile", "model.onnx", "-o", "package.mlc").code == 0
    before = Path(name).read_bytes()
    outcome = mlc(*command.split())
    assert outcome.code == 1 and "reads" in outcome.err and name in outcome.err
    assert Path(name).read_bytes() == before


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("compile small.onnx", "other.onnx"),
        ("compile small.onnx --emit llvm", "weights.safetensors"),
        ("compile small.onnx", "notes.txt"),
        ("opt small.onnx --passes dce", "other.onnx"),
        ("opt small.onnx --passes dce --diff", "other.py"),
        ("reduce small.onnx --while false", "data.npz"),
    ],
)
def test_a_file_of_another_kind_is_not_replaced_even_if_it_is_named(
    mlc: Callable, small: Path, command: str, name: str
) -> None:
    Path(name).write_text("mine")
    outcome = mlc(*command.split(), "-o", name)
    assert outcome.code == 1 and f"-o {name} would replace a file that mlc did not write" in outcome.err
    assert Path(name).read_text() == "mine"
    Path(name).unlink()
    for _ in range(2):  # what mlc wrote is replaced under any name
        assert name.endswith(".npz") or mlc(*command.split(), "-o", name).code == 0


def test_a_header_or_trace_replaces_only_its_like(mlc: Callable, small: Path) -> None:
    for flag, name in (("--header", "main.c"), ("--trace", "model.py")):
        Path(name).write_text("mine")
        outcome = mlc("compile", small, "-o", "a.so", flag, name)
        assert outcome.code == 1 and f"{flag} {name} would replace" in outcome.err and Path(name).read_text() == "mine"


def test_weights_of_the_text_that_is_read_stay(mlc: Callable, small: Path) -> None:
    assert mlc("compile", small, "--dump-ir", "ir", "-q").code == 0
    (text,), before = Path("ir").glob("*-fuse.mlir"), Path("ir/weights.safetensors").read_bytes()
    outcome = mlc("opt", text, "--passes", "dce", "-o", "ir/weights.mlir")
    assert outcome.code == 1 and "which the command reads" in outcome.err
    assert Path("ir/weights.safetensors").read_bytes() == before
    assert mlc("opt", small, "--passes", "dce", "-o", "a.mlir").code == 0
    for _ in range(2):  # in place, as with other tools on text
        assert mlc("opt", "a.mlir", "--passes", "cse", "-o", "a.mlir").code == 0
    assert mlc("run", "a.mlir", "--verify").code == 0
