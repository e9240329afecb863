"""The architecture as a test: data flows one way, and importing mlc is light."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "mlc"

# Stage -> the stages it may import besides itself and mlc.errors. Runtime loads what code generation wrote.
MAY_IMPORT = {
    "ir": set(),
    "frontends": {"ir"},
    "passes": {"ir"},
    "codegen": {"ir"},
    "runtime": {"ir", "codegen"},
}
HEAVY = {"xdsl", "onnx", "llvmlite", "onnxruntime", "torch"}


@cache  # several rules read every file
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imported_modules(path: Path) -> list[tuple[int, str]]:
    """(line, dotted name) of every import in a file, at any depth; `from a import b` is `a.b`."""
    found = []
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            found += [(node.lineno, f"{module}.{alias.name}") for alias in node.names]
    return found


def stage_files(stage: str) -> list[Path]:
    return sorted((PACKAGE / stage).rglob("*.py"))


@pytest.mark.parametrize("stage", sorted(MAY_IMPORT))
def test_a_stage_imports_no_later_or_sibling_stage(stage: str) -> None:
    """Where this fires, a stage reaches past the IR that it is handed. What both stages need belongs into mlc/ir; what one asks of the other
    is handed in by mlc/compiler.py, or is a part of a Backend."""
    allowed = MAY_IMPORT[stage] | {stage, "errors"}
    assert stage_files(stage)
    wrong = []
    for path in stage_files(stage):
        for line, name in imported_modules(path):
            parts = name.split(".")
            if parts[0] == "mlc" and (len(parts) < 2 or parts[1] not in allowed):
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert wrong == []


def test_imports_inside_the_package_are_absolute() -> None:
    """Where this fires, write the import from mlc on, so that a search for a file's name finds who uses it."""
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for line, name in imported_modules(path)
        if name.startswith(".")
    ]
    assert wrong == []


def test_only_the_command_line_imports_the_command_line() -> None:
    """Where this fires, what a verb knows is needed by Python too: move it into a file of mlc/ that the verb imports."""
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.parent.name != "cli" and path.name != "__main__.py"
        for line, name in imported_modules(path)
        if name.startswith("mlc.cli")
    ]
    assert wrong == []


@pytest.mark.parametrize("module", ["mlc", "mlc.cli", "mlc.errors", "mlc.options"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    """Where this fires, move the import into the function that needs it, or behind `if TYPE_CHECKING:` where it is for types alone."""
    program = f"import sys, {module}; print(*sys.modules.keys() & {HEAVY!r})"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("package", ["mlc", "mlc.nn", "mlc.optim", "mlc.data"])
def test_no_public_name_is_the_name_of_a_file_that_holds_it(package: str) -> None:
    """Where this fires, name the file otherwise: importing it puts it into its package under its own name, in place of a function that was
    found there on first use."""
    module = importlib.import_module(package)
    files = {path.stem for path in Path(module.__path__[0]).iterdir() if path.suffix == ".py" or path.is_dir()}
    taken = [name for name in module.__all__ if name in files and not isinstance(getattr(module, name), ModuleType)]
    assert taken == []


def test_every_folder_of_the_package_is_a_package_with_a_docstring() -> None:
    """Where this fires, say in the folder's __init__.py what its files are about."""
    for folder in sorted({path.parent for path in PACKAGE.rglob("*.py")}):
        assert ast.get_docstring(parsed(folder / "__init__.py")), f"{folder.relative_to(ROOT)}/__init__.py has none"


@pytest.mark.parametrize("stage", ["ir", "passes", "codegen", "frontends"])
def test_the_links_at_the_top_lead_into_the_package(stage: str) -> None:
    """Where this fires, a folder at the top is no link into mlc/: `ln -s mlc/STAGE STAGE`. Code goes into mlc/, which is what is installed."""
    link = ROOT / stage
    if not link.is_symlink():
        assert link.read_text() == f"mlc/{stage}"  # a clone without support for links has small text files
    else:
        assert link.readlink() == Path("mlc") / stage


def imports_of(files: dict[str, Path]) -> dict[str, set[str]]:
    """Module -> the modules that it imports, at any depth and for types too."""
    found = {}
    for module, path in files.items():
        named = {name if name in files else name.rpartition(".")[0] for _, name in imported_modules(path)}
        found[module] = {name for name in named if name in files and name != module}
    return found


def circle(imports: dict[str, set[str]]) -> list[str]:
    """Modules that import one another, from the first to itself; none where there is no circle."""
    left = {module: set(needed) for module, needed in imports.items()}
    while free := [module for module, needed in left.items() if not needed & left.keys()]:
        for module in free:
            del left[module]
    path = sorted(left)[:1]
    while path:
        path.append(min(left[path[-1]] & left.keys()))
        if path[-1] in path[:-1]:
            return path[path.index(path[-1]) :]
    return []


def test_no_file_imports_one_that_imports_it() -> None:
    """Where this fires, a function that imports late, or an import for types alone, hides the circle and does not open it. What helps: a file
    of its own for what both need, a Protocol for what one asks of the other, or a function that is handed in."""
    files = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert circle(imports_of(files)) == []


# Rooms whose files are named after the ops they are about: the folder says what is done with them.
FAMILIES = (
    "mlc/codegen/python/forms/",
    "mlc/frontends/onnx/ops/",
    "mlc/frontends/trace/functions/",
    "mlc/ir/graph/",
    "mlc/nn/layers/",
    "mlc/passes/graph/simplify/",
)
# A file here is a command: it has the name that a user types.
COMMANDS = ("mlc/cli", "benchmarks")
TARGETS = ("cpu", "cuda")  # what a stage knows of one machine, and only that stage
NAMED_TWICE = {
    "module": "modules of the IR, and modules of neural networks",
    "random": "ops that give random numbers, and the random tensors that users of Python make",
    "tensor": "tensors of ONNX files as arrays, and the tensors that users of Python compute with",
    "backends": "the kinds of machines that mlc compiles for, and the runtimes that conformance is measured of",
    "base": "what the ops of the graph dialect share, and what passes share",
}


def subject(path: str) -> str:
    """What a file may share its name with: others of its kind."""
    if path.startswith(FAMILIES):
        return "a family of ops"
    folder, _, name = path.rpartition("/")
    if folder in COMMANDS:
        return "a command"
    if name.removesuffix(".py") in TARGETS:
        return "a target"
    return "a test" if name.startswith("test_") else path


def same_names(paths: list[str]) -> dict[str, set[str]]:
    """Names that stand for several subjects. What a command shows or measures, and what a test tests, may have its name."""
    found: dict[str, set[str]] = {}
    for path in paths:
        found.setdefault(path.rpartition("/")[2].removesuffix(".py"), set()).add(subject(path))
    return {name: kinds for name, kinds in found.items() if len(kinds - {"a command", "a test"}) > 1}


def test_no_two_files_of_one_name_could_be_taken_for_each_other() -> None:
    """Where this fires, two files share a name although neither is about a family of ops, a target, a command or a test. Name the newer one by what it
    holds that the older does not; if their docstrings could be exchanged, they may be one file. A pair that nobody could mistake is
    entered in NAMED_TWICE with what each is."""
    assert same_names(["mlc/passes/plan.py", "mlc/ir/plan.py"]) == {"plan": {"mlc/passes/plan.py", "mlc/ir/plan.py"}}
    assert same_names(["mlc/ir/graph/reduce.py", "mlc/frontends/onnx/ops/reduce.py", "mlc/cli/reduce.py"]) == {}
    paths = [
        path.relative_to(ROOT).as_posix()
        for folder in ("mlc", "benchmarks", "tests")
        for path in (ROOT / folder).rglob("*.py")
        if path.stem not in ("__init__", "__main__", "conftest")
    ]
    assert same_names(paths).keys() == NAMED_TWICE.keys(), same_names(paths)


# What knows that a machine is a CPU; everything else asks a target, a backend or a machine.
CPU = (
    "mlc/ir/kernel/cpu_target.py",
    "mlc/passes/kernel/rules/cpu.py",
    "mlc/codegen/llvm/",
    "mlc/runtime/cpu_loader.py",
    "mlc/runtime/cpu_machine.py",
    "mlc/runtime/library.py",
)


def test_only_the_half_of_the_cpu_knows_cpus() -> None:
    """Where this fires, a file that serves every target names the CPU's: have it ask mlc.ir.kernel.target.Target, a Backend or a Machine."""
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if not path.relative_to(ROOT).as_posix().startswith(CPU)
        for line, name in imported_modules(path)
        if name.startswith("mlc.ir.kernel.cpu_target")
    ]
    assert wrong == []


def words_of(tree: ast.Module) -> Iterator[str]:
    """Names and texts in the code of a file, without its docstrings."""
    places = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docs = {id(n.body[0].value) for n in ast.walk(tree) if isinstance(n, places) and isinstance(n.body[0], ast.Expr)}
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in docs:
                yield text
            case ast.Name(id=text) | ast.Attribute(attr=text) | ast.alias(name=text):
                yield text


# Where a dtype of 16 bits must be named: what it is, how loops convert it, how LLVM and CUDA C spell it.
NAME_A_DTYPE = {
    "mlc/ir/dtypes.py",
    "mlc/passes/loops/narrow.py",
    "mlc/codegen/llvm/function.py",
    "mlc/codegen/cuda/scalar_types.py",
}
NAME_BFLOAT16 = {
    "mlc/ir/kernel/schedule.py": "names of tensor-core instructions",
    "mlc/runtime/dlpack.py": "NumPy exchanges every other dtype itself",
    "mlc/options.py": "a precision that a user may choose",
    "mlc/ir/kernel/cuda_target.py": "a precision of its tensor cores",
}


def test_a_dtype_is_described_in_one_place() -> None:
    """Where this fires, a file asks whether a dtype is bf16. Ask what it wants to know instead: is_half, is_storage, or a field or property
    of its row in mlc/ir/dtypes.py, where a new one goes if none fits."""
    found = {
        path.relative_to(ROOT).as_posix()
        for path in PACKAGE.rglob("*.py")
        if any("bf16" in word.lower() or "bfloat" in word.lower() for word in words_of(parsed(path)))
    }
    assert found == NAME_A_DTYPE | NAME_BFLOAT16.keys()


WORDS = (
    "Step", "Plan", "Draft", "Group", "Loops", "Known", "shape_of", "Action", "LeafOp", "Entries",
    "Function", "Body", "Call", "Shape", "Range", "Padding",
)  # fmt: skip


def test_a_word_of_the_compiler_is_defined_once() -> None:
    """Where this fires, a second class, function or alias takes a word that a reader knows from elsewhere: call the new one by what it is beside
    that (a step of a leaf is a LeafOp, what rules know of loops are LoopFacts)."""
    found: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in parsed(path).body:
            match node:
                case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.Assign(targets=[ast.Name(id=name)]):
                    found.setdefault(name, []).append(path.relative_to(ROOT).as_posix())
    assert {word: found[word] for word in WORDS if len(found.get(word, [])) > 1} == {}
