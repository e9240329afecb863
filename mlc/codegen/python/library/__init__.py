"""The functions that printed programs call: plain NumPy, each written out in a program that uses it.

These files import nothing but NumPy, ml_dtypes and the standard library; a function may use others of the library by name. A program has them
without annotations.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_MODULES = ("math", "ml_dtypes")


@dataclass(frozen=True)
class LibraryFunction:
    """The text of a function (or constant) of the library, and the names that it uses, in order."""

    name: str
    text: str
    uses: tuple[str, ...]


@cache
def functions() -> dict[str, LibraryFunction]:
    """By name."""
    found: dict[str, LibraryFunction] = {}
    for file in sorted(files(__package__).iterdir(), key=lambda file: file.name):
        if not file.name.endswith(".py") or file.name == "__init__.py":
            continue
        text = file.read_text(encoding="utf-8")
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef | ast.Assign):
                name = node.name if isinstance(node, ast.FunctionDef) else ast.unparse(node.targets[0])
                lines = text.split("\n")[node.lineno - 1 : node.end_lineno]
                if isinstance(node, ast.FunctionDef):
                    lines = [_signature(node), *lines[node.body[0].lineno - node.lineno :]]
                found[name] = LibraryFunction(name, "\n".join(lines), _uses(node))
    return found


def _uses(node: ast.FunctionDef | ast.Assign) -> tuple[str, ...]:
    """The names that a function reads and does not set, in order, without those of its annotations."""
    body = node.body if isinstance(node, ast.FunctionDef) else []
    names = [part for line in body for part in ast.walk(line) if isinstance(part, ast.Name)]
    own = {part.id for part in names if isinstance(part.ctx, ast.Store)}
    return tuple(dict.fromkeys(part.id for part in names if part.id not in own))


def _signature(node: ast.FunctionDef) -> str:
    """The head of a function without its annotations."""
    for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
        argument.annotation = None
    return f"def {node.name}({ast.unparse(node.args)}):"


def needed(names: Iterable[str]) -> tuple[list[LibraryFunction], set[str]]:
    """The functions of these names, each in front of those that it uses in turn, and the modules that they import beside NumPy."""
    every, wanted = functions(), dict.fromkeys(names)
    pending = list(wanted)
    while pending:
        following = [name for name in every[pending.pop(0)].uses if name in every and name not in wanted]
        wanted.update(dict.fromkeys(following))
        pending += following
    chosen = [every[name] for name in wanted]
    return chosen, {module for function in chosen for module in _MODULES if module in function.uses}
