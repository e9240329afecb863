"""Every verb on small models: what it prints and writes, and its exit code."""

import hashlib
import io
import json
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from mlc.compiler import load_executable
from mlc.ir import outsiders
from tests.cli.conftest import save
from tests.runtime.packages import rewritten


def feeds(size: int = 5) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {"x": rng.standard_normal((size, 4), np.float32), "z": rng.standard_normal((size, 30), np.float32)}


def expected(path: Path, arrays: dict[str, np.ndarray]) -> np.ndarray:
    model = onnx.load(path)
    w, b = (onnx.numpy_helper.to_array(t).astype(np.float64) for t in model.graph.initializer)
    return np.maximum(arrays["x"] @ w + b, 0) * arrays["z"]


def test_check_shows_what_a_model_holds(mlc: Callable, small: Path) -> None:
    outcome = mlc("check", small)
    assert outcome.code == 0
    assert "f32[N, 4]" in outcome.out and "150 parameters" in outcome.out and "4 nodes" in outcome.out


def test_check_reports_everything_unsupported_at_once(mlc: Callable, foreign: Path) -> None:
    outcome = mlc("check", foreign)
    assert outcome.code == 2
    assert "com.acme.FancyNorm" in outcome.err and "strange, other" in outcome.err and "2 nodes" in outcome.err


def test_check_ops_lists_what_can_be_imported(mlc: Callable) -> None:
    found = json.loads(mlc("check", "--ops", "--json").out)["operators"]
    versions = {row["name"]: row["since_versions"] for row in found}
    assert 13 in versions["Softmax"] and len(versions) > 150


def test_check_fixes_and_bounds_sizes(mlc: Callable, small: Path) -> None:
    assert "f32[8, 4]" in mlc("check", small, "--dim", "N=8").out
    assert "f32[8, 4]" in mlc("check", small, "--shape", "x:8x4").out
    assert "N in 1..32" in mlc("check", small, "--dim", "N=1..32").out


def test_sizes_with_code_of_their_own_are_verified_timed_and_explained(mlc: Callable, small: Path) -> None:
    outcome = mlc("compile", small, "--dim", "N@8", "--dim", "N@6", "--verify")
    assert outcome.code == 0 and "N=8 and N=6" in outcome.err
    for model in ([small, "--dim", "N@8", "--dim", "N@6"], ["small.mlc"]):
        text = mlc("explain", *model).out
        assert "where N = 8" in text and "where N = 6" in text
    report = json.loads(mlc("bench", small, "--dim", "N@8", "--per-op", "--seconds", "0.02", "--json").out)
    (case,) = report["cases"]
    assert case["kernels"] and all(row["kernel"].endswith("_N_8") for row in case["kernels"])
    for size, model in ((8, "small.mlc"), (5, small)):
        np.savez("in.npz", **feeds(size))
        flags = [] if model == "small.mlc" else ["--dim", "N@8"]
        assert mlc("run", model, *flags, "--input", "in.npz", "--save-output", "out", "-q").code == 0
        np.testing.assert_allclose(np.load("out/y.npy"), expected(small, feeds(size)), rtol=1e-5, atol=1e-6)
    assert mlc("compare", small, "--dim", "N@8").out.startswith(
        "reference: the interpreter on the imported module, N=8"
    )
    outcome = mlc("run", "small.mlc", "--dim", "N@8")
    assert outcome.code == 1 and "small.mlc is compiled already" in outcome.err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["M@8"], "unknown dimension 'M'"),
        (["N=1..4", "N@8"], "N is within 1..4"),
        (["N=8", "N@8"], "dimension 'N' is fixed to 8"),
        (["N@many"], "'many' is not a size"),
    ],
)
def test_sizes_that_cannot_have_code_of_their_own_are_errors(
    mlc: Callable, small: Path, flags: list[str], message: str
) -> None:
    for verb in ("check", "compile"):
        outcome = mlc(verb, small, *(word for flag in flags for word in ("--dim", flag)))
        assert outcome.code == 1 and message in outcome.err


def test_an_unknown_dimension_or_input_is_an_error_with_the_known_ones(mlc: Callable, small: Path) -> None:
    for flag, value in (("--dim", "M=8"), ("--shape", "q:8x4")):
        outcome = mlc("check", small, flag, value)
        assert outcome.code == 1 and "It has:" in outcome.err


def test_compile_writes_a_package_that_runs(mlc: Callable, small: Path) -> None:
    outcome = mlc("compile", small, "--verify")
    assert outcome.code == 0 and "wrote      small.mlc" in outcome.out
    assert "verify" in outcome.err and "ok" in outcome.err
    arrays = feeds()
    (y,) = load_executable("small.mlc").run(None, arrays)
    np.testing.assert_allclose(y, expected(small, arrays), rtol=1e-5, atol=1e-6)


def test_run_of_model_and_package_save_the_same_outputs(mlc: Callable, small: Path, tmp_path: Path) -> None:
    arrays = feeds()
    np.savez(tmp_path / "in.npz", **arrays)
    assert mlc("compile", small, "-q").code == 0
    for name, model in (("a", small), ("b", "small.mlc")):
        outcome = mlc("run", model, "--input", "in.npz", "--save-output", name, "-q")
        assert outcome.code == 0 and "f32[5, 30]" in outcome.out and outcome.err == ""
        y = np.load(tmp_path / name / "y.npy")
        np.testing.assert_allclose(y, expected(small, arrays), rtol=1e-5, atol=1e-6)


def test_run_takes_inputs_in_every_form(mlc: Callable, small: Path, tmp_path: Path) -> None:
    arrays = feeds(2)
    np.save(tmp_path / "x.npy", arrays["x"])
    data = tmp_path / "test_data_set_0"
    data.mkdir()
    for number, name in enumerate("xz"):
        (data / f"input_{number}.pb").write_bytes(onnx.numpy_helper.from_array(arrays[name]).SerializeToString())
    ones = mlc("run", small, "--input", "x=@x.npy", "--input", "z=ones", "--json")
    found = json.loads(ones.out)
    assert found["inputs"]["z"].startswith("f32[2, 30]  1 .. 1")
    assert mlc("run", small, "--input", data, "--save-output", "o", "-q").code == 0
    np.testing.assert_allclose(np.load("o/y.npy"), expected(small, arrays), rtol=1e-5, atol=1e-6)
    zeros = json.loads(mlc("run", small, "--input", "z=0", "--dim", "N=7", "--json").out)
    assert zeros["outputs"]["y"].startswith("f32[7, 30]  0 .. 0")


def test_the_same_seed_gives_the_same_random_inputs(mlc: Callable, small: Path) -> None:
    first, again, other = (json.loads(mlc("run", small, "--seed", s, "--json").out)["inputs"] for s in (1, 1, 2))
    assert first == again and first != other


def test_large_inputs_are_made_up_only_where_they_are_asked_for(mlc: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a flag that names the input, or one that states sizes."""
    from mlc.cli import data

    text = '<ir_version: 9, opset_import: ["" : 17]> wide (float[300, 4] x, float[4] z) => (float[300, 4] y) { y = Mul(x, z) }'
    Path("wide.onnx").write_bytes(onnx.parser.parse_model(text).SerializeToString())
    monkeypatch.setattr(data, "UNASKED", 4096)
    outcome = mlc("run", "wide.onnx")
    assert outcome.code == 1 and "random inputs would take 4.7 KiB, 'x' 4.7 KiB" in outcome.err
    assert "--input x=random" in outcome.err
    for flag in (["--input", "x=random"], ["--input", "x=ones"], ["--shape", "x:300,4"]):
        assert mlc("run", "wide.onnx", *flag).code == 0


def test_random_inputs_take_little_more_than_their_own_size(mlc: Callable) -> None:
    text = (
        '<ir_version: 9, opset_import: ["" : 17]> tall (float[N] x) => (float y) { y = ReduceSum <keepdims = 0> (x) }'
    )
    Path("tall.onnx").write_bytes(onnx.parser.parse_model(text).SerializeToString())
    tracemalloc.start()
    try:
        assert mlc("run", "tall.onnx", "--dim", "N=8000000", "-q").code == 0
        assert tracemalloc.get_traced_memory()[1] < 2 * 4 * 8_000_000
    finally:
        tracemalloc.stop()


def test_run_verifies_and_says_against_what(mlc: Callable, small: Path) -> None:
    found = json.loads(mlc("run", small, "--verify=interpreter", "--json").out)["verified"]
    assert found["reference"] == "interpreter" and found["error"] < 1e-5 and len(found["bindings"]) == 2


def test_a_tolerance_that_cannot_be_met_is_exit_3(mlc: Callable, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlc.runtime.executable import Executable

    run = Executable.run
    monkeypatch.setattr(Executable, "run", lambda self, names, inputs: [y + 1 for y in run(self, names, inputs)])
    outcome = mlc("run", small, "--verify=interpreter")
    assert outcome.code == 3 and "output 'y' differs from interpreter" in outcome.err


def test_inputs_that_do_not_fit_are_errors(mlc: Callable, small: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "bad.npy", np.zeros((3, 5), np.float32))
    outcome = mlc("run", small, "--input", "x=@bad.npy")
    assert outcome.code == 1 and "x" in outcome.err and "5" in outcome.err
    (tmp_path / "junk.npy").write_bytes(b"junk")
    assert mlc("run", small, "--input", "x=@junk.npy").code == 1
    assert mlc("run", small, "--input", "x=@none.npy").code == 1
    assert mlc("run", small, "--input", "x=many").code == 1
    assert "Did you mean" in mlc("run", small, "--input", "xx=ones").err


def test_run_compiles_for_the_value_that_decides_a_shape(mlc: Callable, reshaped: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", np.array([2, 3]))
    outcome = mlc("run", reshaped, "--input", "shape=@s.npy", "-q")
    assert outcome.code == 0 and "f32[2, 3]" in outcome.out
    assert mlc("run", reshaped).code == 2


@pytest.mark.parametrize("kind", ["mlir", "llvm", "asm", "obj"])
def test_compile_emits_any_stage(kind: str, mlc: Callable, small: Path, tmp_path: Path) -> None:
    suffix = {"mlir": "mlir", "llvm": "ll", "asm": "s", "obj": "o"}[kind]
    outcome = mlc("compile", small, "-o", f"out.{suffix}", "-q")
    content = (tmp_path / f"out.{suffix}").read_bytes()
    start = {"mlir": b"builtin.module", "llvm": b"define", "asm": b"\t.text", "obj": b"\x7fELF"}[kind]
    assert outcome.code == 0 and content.lstrip(b"\n").startswith(start[:1]) and start in content


def test_a_name_that_says_another_kind_than_emit_is_refused(mlc: Callable, small: Path, tmp_path: Path) -> None:
    outcome = mlc("compile", small, "-o", "x.mlc", "--emit", "so")
    assert outcome.code == 1 and not (tmp_path / "x.mlc").exists()
    assert "is the name of a package, and --emit asks for a shared library" in outcome.err and "-o x.so" in outcome.err


def test_ir_written_after_a_pass_can_be_run(mlc: Callable, small: Path) -> None:
    arrays = feeds(3)
    np.savez("in.npz", **arrays)
    for stop in ("simplify", "fuse", "outline", "lower"):
        assert mlc("compile", small, "--stop-after", stop, "-o", "cut.mlir", "-q").code == 0
        assert mlc("run", "cut.mlir", "--input", "in.npz", "--save-output", stop, "-q").code == 0
        np.testing.assert_allclose(np.load(f"{stop}/y.npy"), expected(small, arrays), rtol=1e-5, atol=1e-6)


def test_dump_ir_writes_a_file_per_pass_that_runs(mlc: Callable, small: Path, tmp_path: Path) -> None:
    assert mlc("compile", small, "--dump-ir", "ir", "-q").code == 0
    files = sorted((tmp_path / "ir").glob("*.mlir"))
    assert files[0].name == "00-input.mlir" and files[-1].stem.endswith("plan-arena")
    assert (tmp_path / "ir" / "weights.safetensors").exists()
    arrays = feeds(2)
    np.savez("in.npz", **arrays)
    for file in (files[0], files[-1]):
        assert mlc("run", file, "--input", "in.npz", "--save-output", "o", "-q").code == 0
        np.testing.assert_allclose(np.load("o/y.npy"), expected(small, arrays), rtol=1e-5, atol=1e-6)


def test_an_old_output_survives_a_compilation_that_fails(mlc: Callable, mismatched: Path, tmp_path: Path) -> None:
    (tmp_path / "out.mlc").write_text("old")
    assert mlc("compile", mismatched, "-o", "out.mlc").code == 1
    assert (tmp_path / "out.mlc").read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mismatched.onnx", "out.mlc"]


def test_compile_refuses_what_it_cannot_write(mlc: Callable, small: Path) -> None:
    assert mlc("compile", small, "-o", "no/where.mlc").code == 1
    assert mlc("compile", small, "-o", small).code == 1
    assert mlc("compile", small, "--stop-after", "fuse", "--emit", "obj").code == 1


def test_targets_that_are_not_there_are_exit_4(mlc: Callable, small: Path) -> None:
    outcome = mlc("compile", small, "--target", "tpu")
    assert outcome.code == 4 and "no tpu backend" in outcome.err
    assert mlc("compile", small, "--target", "cuda", "--arch", "sm_95").code == 4
    assert mlc("compile", small, "--arch", "x86-64-v9").code == 4
    assert mlc("run", small, "--target", "gpu").code == 4


def test_progress_and_pass_times_go_to_standard_error(mlc: Callable, small: Path) -> None:
    outcome = mlc("compile", small, "--time-passes")
    assert [line.split()[0] for line in outcome.err.splitlines() if line.startswith(("import", "codegen"))] == [
        "import",
        "codegen",
    ]
    assert "all passes" in outcome.err and "import" not in outcome.out


def test_optimisation_levels_and_disabled_passes_give_the_same_numbers(mlc: Callable, small: Path) -> None:
    arrays = feeds(4)
    np.savez("in.npz", **arrays)
    for flags in (["-O0"], ["-O1"], ["-O3"], ["--disable-pass", "fuse"], ["--passes", "dce"]):
        assert mlc("run", small, "--input", "in.npz", "--save-output", "o", "-q", *flags).code == 0
        np.testing.assert_allclose(np.load("o/y.npy"), expected(small, arrays), rtol=1e-5, atol=1e-6)
    assert mlc("run", small, "--disable-pass", "lower").code == 1
    assert "Did you mean 'fuse'?" in mlc("run", small, "--disable-pass", "fus").err


def test_explain_says_what_each_kernel_computes_and_how(mlc: Callable, small: Path) -> None:
    assert mlc("compile", small, "-q").code == 0
    for model in (small, "small.mlc"):
        outcome = mlc("explain", model, "--op", "product")
        assert outcome.code == 0
        assert "product, shift, cut, mix" in outcome.out and "schedule" in outcome.out and "bytes" in outcome.out
        assert "its result is an output of the model" in outcome.out
    assert mlc("explain", "small.mlc", "--op", "produkt").code == 1


def test_explain_says_what_code_for_gpus_takes_or_why_that_is_not_known(
    mlc: Callable, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("nvcc") is not None:
        monkeypatch.delenv("NVRTC", raising=False)
        text = mlc("explain", small, "--target", "cuda", "--arch", "sm_80").out
        assert "sm_80: " in text and " registers, " in text and "not known" not in text
    monkeypatch.setenv("NVRTC", "none")
    outcome = mlc("explain", small, "--target", "cuda", "--arch", "sm_80")
    assert outcome.code == 0 and "schedule" in outcome.out
    assert "registers and shared memory are not known: NVRTC=none names no file" in outcome.out


NAMED = """
<ir_version: 9, opset_import: ["" : 17]>
named (float[N, 4, 6, 6] x, float[N, 8] z) => (float[N, 4, 6, 6] y, float[N, 8] t)
<float[4, 4, 3, 3] w, float[4] a, float[4] b, float[4] c, float[4] d, float[8] s>
{
   [spread] d2 = Mul(d, d)
   [window] p = Conv<pads = [1, 1, 1, 1]>(x, w)
   [still] y = BatchNormalization(p, a, b, c, d2)
   [even] t = LayerNormalization(z, s)
}
"""


def test_explain_says_what_nodes_are_as_a_whole(mlc: Callable, tmp_path: Path) -> None:
    """Also where a normalisation has gone into a convolution's weight, and from a package."""
    model = save(NAMED, tmp_path / "named.onnx")
    assert mlc("compile", model, "-q").code == 0
    for source in (model, "named.mlc"):
        text = mlc("explain", source).out
        assert "window, still (batch_norm)" in text and "even (layer_norm)" in text
    outcome = json.loads(mlc("explain", model, "--op", "even", "--json").out)
    assert [call["composites"]["even"] for kernel in outcome["kernels"] for call in kernel["calls"]] == ["layer_norm"]


def test_opt_runs_passes_and_shows_what_they_changed(mlc: Callable, small: Path, tmp_path: Path) -> None:
    assert mlc("opt", small, "-o", "in.mlir").code == 0
    before = (tmp_path / "in.mlir").read_text()
    assert mlc("opt", "in.mlir").out == before
    fused = mlc("opt", "in.mlir", "--passes", "simplify,fuse{max-ops=2},dce").out
    assert "graph.group" in fused and "graph.group" not in before
    diff = mlc("opt", "in.mlir", "--passes", "fuse", "--diff").out
    assert diff.startswith("--- before\n+++ after\n")
    listed = mlc("opt", "--list-passes").out
    assert "max-ops" in listed and "simplify" in listed
    assert "Did you mean 'simplify'?" in mlc("opt", "in.mlir", "--passes", "simplfy").err


def test_opt_reports_text_that_does_not_parse(mlc: Callable, tmp_path: Path) -> None:
    (tmp_path / "bad.mlir").write_text("builtin.module { func.func @main( }")
    outcome = mlc("opt", "bad.mlir")
    assert outcome.code == 1 and outcome.err.startswith("bad.mlir:1:35: error: ")


def test_a_model_can_come_through_standard_input(mlc: Callable, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        def __init__(self, path: Path):
            self.buffer = path.open("rb")

    monkeypatch.setattr("sys.stdin", Stdin(small))
    assert "f32[N, 4]" in mlc("check", "-").out


def test_doctor_says_what_works(mlc: Callable) -> None:
    outcome = mlc("doctor")
    assert outcome.code == 0 and "llvmlite" in outcome.out
    names = {f["name"]: f["ok"] for f in json.loads(mlc("doctor", "--json").out)["findings"]}
    assert names["cpu"] and {"nvcc or NVRTC", "gpu", "pycuda"} < names.keys()


def test_cache_shows_and_clears(mlc: Callable, small: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLC_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(outsiders, "_names", {})  # of other tests: with them, no compilation is kept
    assert mlc("run", small, "--no-cache", "-q").code == 0
    counts = lambda: [json.loads(mlc("cache", "--json").out)[kind] for kind in ("objects", "compilations")]
    assert counts() == [0, 0]
    assert mlc("run", small, "-q").code == 0
    objects, compilations = counts()
    assert objects > 0 and compilations == 1
    dropped = json.loads(mlc("cache", "--clear", "--json").out)["dropped"]
    assert dropped == {"objects": objects, "compilations": 1}
    assert counts() == [0, 0]


def test_demo_recognises_digits(mlc: Callable) -> None:
    outcome = mlc("demo", "--seconds", "0.02")
    assert outcome.code == 0
    assert (
        "verified" in outcome.out and "50 handwritten digits" in outcome.out and "now try: mlc compile" in outcome.out
    )
    found = json.loads(mlc("demo", "--seconds", "0.02", "--json").out)
    assert found["right"] >= 45 and found["error"] < 1e-4


def test_a_package_for_another_cpu_is_compiled_again_and_explained_as_it_is(
    mlc: Callable, small: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mlc("compile", small, "-q")
    rewritten(
        Path("small.mlc"),
        Path("other.mlc"),
        {"manifest": lambda text: text.replace('"features": "', '"features": "+quantum,')},
    )
    want, found = (mlc("run", name, "--dim", "N=3", "--save-output", name[0]) for name in ("small.mlc", "other.mlc"))
    assert found.code == 0 and "codegen" in found.err and "codegen" not in want.err
    assert "this machine has no quantum" in caplog.text
    np.testing.assert_allclose(np.load("o/y.npy"), np.load("s/y.npy"), rtol=1e-6)
    strict = mlc("run", "other.mlc", "--strict")
    assert strict.code == 4 and "no quantum" in strict.err
    assert mlc("explain", "other.mlc").out == mlc("explain", "small.mlc").out.replace("small.mlc", "other.mlc")


def test_until_cuts_a_model_for_every_verb_that_takes_one(mlc: Callable, foreign: Path) -> None:
    assert "compiles (1 node) with --until 'before'" in mlc("check", foreign).err
    assert "1 node until 'before'" in mlc("check", foreign, "--until", "before").out
    x = np.array([[1, -2, 3, -4]], np.float32)
    np.save("x.npy", x)
    assert mlc("run", foreign, "--until", "a", "--input", "x=@x.npy", "--save-output", "o", "--verify").code == 0
    np.testing.assert_array_equal(np.load("o/a.npy"), np.maximum(x, 0))
    for verb in (
        "compile --verify",
        "compare --against onnxruntime",
        "bench --seconds 0.01 --against onnxruntime",
        "explain",
        "opt",
    ):
        name, *flags = verb.split()
        outcome = mlc(name, foreign, "--until", "before", *flags)
        assert outcome.code == 0, (verb, outcome.err)
    wrong = mlc("compile", foreign, "--until", "befor")
    assert wrong.code == 1 and "Did you mean 'before'?" in wrong.err
    for verb in ("run", "bench", "explain"):
        assert "--until changes how a model is compiled" in mlc(verb, "foreign.mlc", "--until", "before").err


def test_every_dumped_stage_can_be_verified_and_compared(mlc: Callable, small: Path) -> None:
    assert mlc("compile", small, "--dump-ir", "ir", "-q").code == 0
    for file in sorted(Path("ir").glob("*.mlir")):
        compared = mlc("compare", file, "-q")
        assert compared.code == 0 and "agrees" in compared.out and "DIFFERS" not in compared.out, (file, compared)
        verified = mlc("run", file, "--verify")
        assert verified.code == 0 and "interpreter, N=2 and N=1" in verified.err, (file, verified)


@pytest.mark.parametrize("verb", ["opt", "check", "run", "explain", "compare", "compile"])
def test_functions_with_comments_come_through_standard_input(
    mlc: Callable, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    text = "// y = -x\nfunc.func @main(%x: tensor<2xf32>) -> tensor<2xf32> {\n  %0 = graph.neg %x : tensor<2xf32> -> tensor<2xf32>\n  return %0 : tensor<2xf32>\n}\n"

    class Stdin:
        def __init__(self, text: str):
            self.buffer = io.BytesIO(text.encode())

    monkeypatch.setattr("sys.stdin", Stdin(text))
    assert mlc(verb, "-", "-q").code == 0
    monkeypatch.setattr("sys.stdin", Stdin(text.replace("graph.neg", "graph.nag")))
    outcome = mlc(verb, "-")
    assert outcome.code == 1 and outcome.err.splitlines()[-3].startswith("<stdin>:3:8: error: operation graph.nag")


def test_check_of_a_package_shows_what_it_holds(mlc: Callable, small: Path) -> None:
    assert mlc("compile", small, "--dim", "N=1..9", "--dim", "N@4", "-q").code == 0
    outcome = mlc("check", "small.mlc")
    digest = hashlib.sha256(small.read_bytes()).hexdigest()
    for text in (
        "f32[N, 30]",
        "N in 1..9",
        "N = 4",
        "runs on this machine: yes",
        "precision  f32",
        digest,
        "-O2: ",
        "fuse",
    ):
        assert text in outcome.out, text
    found = json.loads(mlc("check", "small.mlc", "--json").out)
    assert found["package"]["sha256"] == digest and found["package"]["source"] == str(small)
    assert found["inputs"][0] == {"name": "x", "dtype": "f32", "shape": ["N", 4]} and found["symbols"] == {"N": [1, 9]}
    assert {"llvmlite", "xdsl"} <= found["package"]["versions"].keys()
    assert mlc("check", "small.mlc", "--dim", "N=2").code == 0


def test_a_package_is_verified_and_timed_against_its_module_and_its_model(mlc: Callable, small: Path) -> None:
    assert mlc("compile", small, "-q").code == 0
    for flags in (["--verify"], ["--verify=interpreter"], ["--verify", "--reference", small]):
        outcome = mlc("run", "small.mlc", *flags)
        assert outcome.code == 0 and "N=2 and N=1" in outcome.err
    assert "--reference" in mlc("run", "small.mlc", "--verify=onnxruntime").err
    quick = ["--seconds", "0.02"]
    assert "interpreter" in mlc("bench", "small.mlc", "--against", "interpreter", *quick).out
    assert mlc("bench", "small.mlc", "--against", "onnxruntime", "--reference", small, *quick).code == 0
    assert mlc("bench", small, "--reference", small, *quick).code == 1


def test_a_value_that_decides_shapes_can_be_given_to_every_command(mlc: Callable, reshaped: Path) -> None:
    np.save("s.npy", np.array([2, 3]))
    for flags in (
        ["--known", "shape=2,3"],
        ["--known", "shape=@s.npy"],
        ["--input", "shape=@s.npy"],
        ["--input", "shape=2,3"],
    ):
        for verb in ("check", "compile", "run", "explain", "compare", "opt", "bench --seconds 0.01", "run --verify"):
            name, *more = verb.split()
            outcome = mlc(name, reshaped, *more, *flags, "-q")
            assert outcome.code == 0, (verb, flags, outcome.err)
    outcome = mlc("run", "reshaped.mlc", "--input", "x=1", "-q")
    assert "f32[2, 3]" in outcome.out
    missing = mlc("compile", reshaped)
    assert missing.code == 2 and "--known shape=" in missing.err
    for wrong in ("shape=random", "shapes=2,3", "shape=a"):
        assert mlc("check", reshaped, "--known", wrong).code == 1


def test_a_flag_takes_several_dimensions(mlc: Callable, small: Path) -> None:
    assert "f32[3, 4]" in mlc("check", small, "--dim", "N=3,M=4").err + mlc("check", small, "--dim", "N=3").out
    assert mlc("check", small, "--dim", "N=3,M=4").code == 1


@pytest.mark.parametrize("flag", ["--rtol=-1", "--atol=-0.5", "--rtol=nan", "--atol=much"])
def test_a_tolerance_is_not_negative(mlc: Callable, small: Path, flag: str) -> None:
    outcome = mlc("compare", small, flag)
    assert outcome.code == 1 and "no tolerance" in outcome.err


def test_a_package_is_compared_with_its_module_and_its_model(mlc: Callable, small: Path) -> None:
    assert mlc("compile", small, "-q").code == 0
    own = mlc("compare", "small.mlc")
    assert own.code == 0 and "code in the package      agrees" in own.out
    for engine in ("interpreter", "onnxruntime"):
        outcome = mlc("compare", "small.mlc", "--reference", small, "--against", engine, "--dim", "N=7")
        assert outcome.code == 0 and "N=7" in outcome.out and outcome.out.count("agrees") == 2
    other = onnx.load(small)
    other.graph.node[2].op_type = "Abs"
    Path("other.onnx").write_bytes(other.SerializeToString())
    outcome = mlc("compare", "small.mlc", "--reference", "other.onnx")
    assert outcome.code == 3 and "module in the package    DIFFERS" in outcome.out
    assert mlc("compare", "small.mlc", "--against", "onnxruntime").code == 1


def test_check_states_the_memory_of_a_call_as_the_executable_does(mlc: Callable, small: Path) -> None:
    assert mlc("compile", small, "-o", "small.mlc", "-q").code == 0
    exe = load_executable("small.mlc")
    for size in (1, 1000):
        use = exe.memory_analysis(N=size)
        fixed = [] if size == 1 else ["--dim", f"N={size}"]
        for model in (small, "small.mlc"):
            found = json.loads(mlc("check", model, *fixed, "--json").out)["memory"]
            want = (use.total, use.weights, use.arena, use.outputs, exe.threads)
            assert tuple(found[key] for key in ("total", "weights", "arena", "outputs", "threads")) == want
            assert 0 < found["packed"] <= found["weights"] == found["total"] - found["arena"] - found["outputs"]
            lines = mlc("check", model, *fixed).out
            assert f"for a call at N = {size} with" in lines or (
                model == small and size > 1 and "for a call with" in lines
            )
    assert mlc("check", "small.mlc", "--dim", "M=2").code == 1


def test_a_library_for_a_machine_that_has_none_is_refused_before_the_work(mlc: Callable, small: Path) -> None:
    outcome = mlc("compile", small, "--target", "cuda", "--emit", "so", "-o", "libsmall.so")
    assert outcome.code == 4 and "target cuda writes no shared library" in outcome.err
    assert "--emit cuda" in outcome.err and "import" not in outcome.err
