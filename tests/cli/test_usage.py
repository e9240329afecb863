"""The command line as such: help, versions, unknown names, exit codes, and that it starts fast because it imports little."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import mlc as package
from mlc.cli import VERBS, main
from mlc.cli import sizes as grammar
from mlc.cli.command_line import UsageError
from mlc.errors import MlcError
from mlc.options import DimRange

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"xdsl", "onnx", "llvmlite", "onnxruntime", "numpy"}


def test_mlc_alone_says_what_to_try(mlc: Callable) -> None:
    outcome = mlc()
    assert outcome.code == 0 and "mlc demo" in outcome.out and package.__version__ in outcome.out


def test_help_lists_every_verb(mlc: Callable) -> None:
    outcome = mlc("--help")
    assert outcome.code == 0
    assert all(f"  {verb} " in outcome.out for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, mlc: Callable) -> None:
    outcome = mlc(verb, "--help")
    assert outcome.code == 0 and outcome.out.startswith(f"usage: mlc {verb}")
    examples = outcome.out.split("examples:\n")[1].splitlines()
    assert examples[0].startswith(f"  mlc {verb} ")
    flags = {word for line in examples for word in line.split() if word.startswith("--")}
    assert all(re.search(rf"^  (-\w[ \w.]*, )?{flag}\b", outcome.out, re.MULTILINE) for flag in flags)


def test_version(mlc: Callable) -> None:
    assert mlc("--version").out == f"mlc {package.__version__}\n"


def test_an_unknown_verb_is_bad_usage_with_a_suggestion(mlc: Callable) -> None:
    outcome = mlc("chek", "x.onnx")
    assert outcome.code == 1 and "Did you mean 'check'?" in outcome.err and outcome.out == ""


def test_an_unknown_flag_is_bad_usage_with_a_suggestion(mlc: Callable, small: Path) -> None:
    outcome = mlc("run", small, "--save-outputs", "d")
    assert outcome.code == 1 and "Did you mean '--save-output'?" in outcome.err


def test_a_flag_is_not_abbreviated(mlc: Callable, small: Path) -> None:
    assert mlc("run", small, "--see", "3").code == 1


def test_a_missing_file_is_named_and_a_near_one_suggested(mlc: Callable, small: Path) -> None:
    outcome = mlc("check", small.with_name("smal.onnx"))
    assert outcome.code == 1 and "no such file" in outcome.err and "small.onnx" in outcome.err


def test_no_traceback_without_v(mlc: Callable, mismatched: Path) -> None:
    assert "Traceback" not in mlc("check", mismatched).err
    assert "Traceback" in mlc("check", mismatched, "-v").err


def test_errors_are_json_where_json_is_asked_for(mlc: Callable, mismatched: Path) -> None:
    outcome = mlc("check", mismatched, "--json")
    found = json.loads(outcome.out)
    assert outcome.code == 1 and found["error"]["kind"] == "ShapeError" and found["error"]["exit_code"] == 1


def test_a_bug_of_ours_gives_exit_70_and_a_report(
    mlc: Callable, small: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("mlc.compiler.load", broken)
    outcome = mlc("check", small)
    assert outcome.code == 70 and "planted" in outcome.err
    (report,) = tmp_path.glob("mlc-bug-*.txt")
    assert "ZeroDivisionError: planted" in report.read_text() and f"mlc check {small}" in report.read_text()


def test_help_imports_nothing_heavy() -> None:
    program = f"import sys; from mlc.cli import main; main(['--help']); print(*sys.modules.keys() & {HEAVY!r}, sep=',')"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""


def test_python_m_mlc_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mlc", "nonsense"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "unknown command 'nonsense'" in done.stderr


def test_a_reader_that_stops_reading_is_no_error() -> None:
    command = f"{sys.executable} -m mlc check --ops | head -1"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "Traceback" not in done.stderr and "error" not in done.stderr


def test_shapes_are_split_at_the_last_colon_and_at_x_or_commas() -> None:
    assert grammar.shapes(["x:1x3x224x224"]) == {"x": (1, 3, 224, 224)}
    assert grammar.shapes(["x:Nx3x8"]) == {"x": ("N", 3, 8)}
    assert grammar.shapes(["a:b:N,max_len,4"]) == {"a:b": ("N", "max_len", 4)}
    assert grammar.shapes(["x:pixels"]) == {"x": ("pixels",)}
    assert grammar.shapes(["x:"]) == {"x": ()}


def test_dims_are_sizes_and_ranges() -> None:
    assert grammar.dims(["N=8"]) == {"N": DimRange(8, 8)}
    assert grammar.dims(["N=1..32"]) == {"N": DimRange(1, 32)}
    assert grammar.dims(["N=2.."]) == {"N": DimRange(2, None)}


def test_dims_that_are_specialised_bound_nothing() -> None:
    flags = ["N=1..32", "N@8", "batch@1,T@128", "T=4"]
    assert grammar.dims(flags) == {"N": DimRange(1, 32), "T": DimRange(4, 4)}
    assert grammar.variants(flags) == [{"N": 8}, {"batch": 1, "T": 128}]
    assert grammar.fixed(flags) == {"T": 4}
    assert grammar.usual(flags) == {"N": 8}


@pytest.mark.parametrize("text", ["x", ":1x2", "x:1,,2"])
def test_a_bad_shape_is_bad_usage(text: str) -> None:
    with pytest.raises(UsageError):
        grammar.shapes([text])


@pytest.mark.parametrize("text", ["N", "N=", "N=a", "=3"])
def test_a_bad_dim_is_bad_usage(text: str) -> None:
    with pytest.raises(UsageError):
        grammar.dims([text])


@pytest.mark.parametrize("text", ["N@x", "N@", "@8", "N@-1", "N@8,", "N@8,T", "N@8,N@9"])
def test_a_bad_specialisation_says_how_to_write_one(text: str) -> None:
    with pytest.raises(MlcError, match=f"cannot specialise for {text}: ") as error:
        grammar.variants([text])
    assert "N@8,T@128" in str(error.value)


def test_an_empty_range_is_refused() -> None:
    assert main(["check", __file__, "--dim", "N=9..3", "-q"]) == 1


@pytest.mark.parametrize("value", ["0", "-1", "x", "nan", "inf", "", "1e999"])
def test_numbers_in_flags_are_tested_before_the_work(mlc: Callable, small: Path, value: str) -> None:
    flags = {
        "demo": ["--seconds"],
        "bench": ["--seconds", "--callers", "--threads"],
        "compile": ["--threads"],
        "reduce --while false": ["--seconds", "--timeout"],
    }
    for verb, names in flags.items():
        for name in names:
            words = verb.split() if verb == "demo" else [*verb.split(), small]
            outcome = mlc(*words, f"{name}={value}")
            assert outcome.code == 1 and f"argument {name}: " in outcome.err and "import" not in outcome.err
    assert "Levels: -O0, -O1, -O2, -O3." in mlc("compile", small, "-O9").err
