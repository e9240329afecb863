"""The passes by name, and the order they run in: written once, here.

O0   only lowers                     O2   everything that keeps the arithmetic as written (default)
O1   also simplifies                 O3   also what changes rounding
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from mlc.errors import MlcError
from mlc.passes.graph.cse import Cse
from mlc.passes.graph.dce import Dce
from mlc.passes.graph.decompose import Decompose
from mlc.passes.graph.fold import Fold
from mlc.passes.graph.simplify import Simplify
from mlc.passes.manager import Pass

PASSES: dict[str, type[Pass]] = {kind.name: kind for kind in (Decompose, Simplify, Fold, Cse, Dce)}


def graph_passes(opt_level: int = 2, disable: Iterable[str] = ()) -> list[Pass]:
    """From an imported module to one that can be fused."""
    left_out = set(disable)
    for name in left_out - PASSES.keys():
        raise unknown(name)
    levels: list[tuple[int, Pass]] = [
        (0, Decompose()),
        (1, Simplify()),
        (1, Fold()),
        (1, Simplify()),
        (1, Cse()),
        (0, Dce()),
    ]
    return [step for level, step in levels if level <= opt_level and step.name not in left_out]


def parse(text: str) -> list[Pass]:
    """Passes from text: decompose,fuse{max-ops=8},dce. Raises MlcError for a name or option that does not exist."""
    steps = []
    for match in re.finditer(r"\s*([\w-]+)\s*(?:\{([^}]*)\})?\s*(,|$)|(.)", text):
        name, options, _, wrong = match.groups()
        if wrong is not None:
            raise MlcError(
                f"the pipeline {text!r} does not parse at {text[match.start() :]!r}",
                remedy="Write pass,pass{option=value}.",
            )
        if name not in PASSES:
            raise unknown(name)
        pairs = [pair.partition("=") for pair in (options or "").split(",") if pair.strip()]
        steps.append(PASSES[name].of({key.strip(): value.strip() for key, _, value in pairs}))
    return steps


def unknown(name: str) -> MlcError:
    """The error for a name that no pass has, with the nearest one."""
    near = difflib.get_close_matches(name, PASSES, 1)
    return MlcError(
        f"there is no pass '{name}'", remedy=f"Did you mean '{near[0]}'?" if near else f"Passes: {', '.join(PASSES)}."
    )
