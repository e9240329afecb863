"""Run the snippets of these pages and write what they print, and the tables that come from the code.

    python docs/generate.py              rewrite every page
    python docs/generate.py --check      say which pages are not current; the tests do the same

A page's ```python blocks run in order, in one namespace, in a folder that holds model.onnx (the bundled digit recogniser). A ```text or
```mlir block that follows directly is what the block printed; a line of dots in it stands for any lines. Of a ```sh block the lines
that begin with `mlc` run too, and must succeed. Between <!-- table: NAME --> and <!-- end --> stands a table made here. A page that begins with
<!-- needs: PROGRAM --> can be run where that is installed.
"""

from __future__ import annotations

import argparse
import contextlib
import glob
import io
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parent
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
TABLE = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
NOT_RUN = ("pip ", "make ", "python ", "git ", "pytest ", "mpiexec ", "until ")  # other programs, shown only


def pages() -> list[Path]:
    return sorted(DOCS.glob("*.md"))


def missing(page: Path) -> str | None:
    """The program that the page needs and this machine has not."""
    found = re.match(r"<!-- needs: (\S+) -->", page.read_text(encoding="utf-8"))
    return found[1] if found and shutil.which(found[1]) is None else None


def rendered(page: Path) -> str:
    """The page as it should be. Raises where a snippet fails."""
    text = TABLE.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}{found[3]}", page.read_text(encoding="utf-8"))
    with _folder():
        return _with_outputs(text, page.name)


def _with_outputs(text: str, name: str) -> str:
    namespace: dict[str, object] = {"__name__": f"docs.{name}"}
    parts, at, printed = [], 0, None
    for block in BLOCK.finditer(text):
        kind, body = block[1], block[2]
        between = text[at : block.start()]
        parts.append(between)
        if kind in ("text", "mlir") and printed is not None and not between.strip():
            parts.append(f"```{kind}\n{body if _matches(body, printed) else printed}```\n")
            printed = None
        else:
            parts.append(block[0])
            printed = _output(kind, body, namespace, f"{name}:{text[: block.start()].count(chr(10)) + 1}")
        at = block.end()
    return "".join([*parts, text[at:]])


def _matches(expected: str, printed: str) -> bool:
    """Equal, where a line of dots stands for any lines."""
    pattern = "".join(
        r"(.*\n)*?" if line.strip() == "..." else re.escape(line) for line in expected.splitlines(keepends=True)
    )
    return re.fullmatch(pattern, printed) is not None


def _output(kind: str, body: str, namespace: dict[str, object], where: str) -> str | None:
    """What a block prints; None for one that does not run."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        if kind == "python":
            exec(compile(body, where, "exec", dont_inherit=True), namespace)  # noqa: S102  the pages are ours
        elif kind == "sh":
            for line in body.splitlines():
                _command(line, where)
        elif kind == "mlir":
            _parse(body)
            return None
        else:
            return None
    return out.getvalue()


def _command(line: str, where: str) -> None:
    from mlc.cli import main

    words = shlex.split(line, comments=True)
    if not words or line.startswith(NOT_RUN):
        return
    if words[0] != "mlc":
        raise ValueError(f"{where}: {words[0]} is no command that pages may show")
    code = main([path for word in words[1:] for path in (sorted(glob.glob(word)) or [word])])
    if code:
        raise ValueError(f"{where}: '{line}' fails with exit code {code}")


def _parse(text: str) -> None:
    from xdsl.parser import Parser

    from mlc.ir.module import context

    Parser(context(), text).parse_module().verify()


@contextlib.contextmanager
def _folder() -> Iterator[None]:
    """A working folder of its own, with the bundled model in it."""
    import mlc

    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(Path(mlc.__file__).parent / "demo" / "digits.onnx", Path(folder) / "model.onnx")
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


# Tables --------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Table:
    """Rows of a Markdown table."""

    head: tuple[str, ...]
    rows: list[tuple[str, ...]]

    def __str__(self) -> str:
        lines = [self.head, ("---",) * len(self.head), *self.rows]
        return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def onnx_operators() -> str:
    from mlc.frontends.onnx import table

    found: dict[tuple[str, str], list[int]] = {}
    for key in sorted(table.load()):
        if key.domain == "com.example":  # the one that add-an-op.md enters
            continue
        found.setdefault((key.domain, key.op_type), []).append(key.version)
    rows = [
        (f"{domain}.{name}" if domain else name, ", ".join(map(str, since))) for (domain, name), since in found.items()
    ]
    return f"{len(found)} operators.\n\n{Table(('operator', 'since versions'), rows)}"


def graph_ops() -> str:
    from mlc.ir.graph import GRAPH

    families: dict[str, list[tuple[str, ...]]] = {}
    for op in GRAPH.operations:
        family = op.__module__.rsplit(".", 1)[-1]
        said = " ".join((op.__doc__ or "").split("\n\n")[0].split())
        families.setdefault(family, []).append((f"`{op.name}`", said))
    return "\n".join(f"### {family}\n\n{Table(('op', 'meaning'), rows)}" for family, rows in families.items())


def passes() -> str:
    from mlc.passes.pipelines import PASSES, pipeline

    order = [step.name for step in pipeline()]
    names = [*dict.fromkeys(order), *(name for name in PASSES if name not in order)]
    rows = [(f"`{name}`", " ".join((PASSES[name].__doc__ or "").split("\n\n")[0].split())) for name in names]
    return str(Table(("pass", "what it does"), rows)) + f"\nThe order at `-O2`: {', '.join(order)}.\n"


def verbs() -> str:
    from mlc.cli import VERBS

    return str(Table(("command", ""), [(f"`mlc {verb}`", said) for verb, said in VERBS.items()]))


def options() -> str:
    """The fields of CompileOptions, as its docstring explains them."""
    from dataclasses import fields

    from mlc.options import CompileOptions

    said: dict[str, str] = {}
    name = ""
    for line in (CompileOptions.__doc__ or "").splitlines():
        found = re.match(r"    (\w+)\s{2,}(\S.*)", line)
        if found:
            name = found[1]
            said[name] = found[2]
        elif name and line.startswith("     "):
            said[name] += " " + line.strip()
    return str(
        Table(("option", "default", ""), [(f"`{f.name}`", _default(f), said[f.name]) for f in fields(CompileOptions)])
    )


def _default(field: object) -> str:
    value = getattr(field, "default", None)
    return f"`{value!r}`" if isinstance(value, (str, int, tuple, type(None))) else "`{}`"


def ulp() -> str:
    """The last table of benchmarks.ulp."""
    return (Path(__file__).parents[1] / "benchmarks" / "results" / "ulp.md").read_text(encoding="utf-8")


TABLES: dict[str, Callable[[], str]] = {
    "onnx-operators": onnx_operators,
    "graph-ops": graph_ops,
    "passes": passes,
    "verbs": verbs,
    "options": options,
    "ulp": ulp,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 where a page is not current")
    parser.add_argument("pages", nargs="*", type=Path, help="pages to do; default: all")
    given = parser.parse_args()
    stale = 0
    for page in given.pages or pages():
        page = page.resolve()
        text = rendered(page)
        if text != page.read_text(encoding="utf-8"):
            stale += 1
            print(f"{page.name} {'is not current' if given.check else 'is rewritten'}")
            if not given.check:
                page.write_text(text, encoding="utf-8")
    return 1 if given.check and stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
