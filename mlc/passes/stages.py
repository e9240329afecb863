"""How far a module has come, and which passes can follow: an order that cannot work is refused before anything runs."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.func import FuncOp

from mlc.errors import MlcError
from mlc.ir.graph.control import GroupOp
from mlc.ir.module import Module
from mlc.passes.base import Pass, Stage

# Each stage with what it is called, and the pass that leads to it.
_TITLES: dict[Stage, tuple[str, str]] = {
    "graph": ("a graph", ""),
    "groups": ("a graph of fused groups", "fuse"),
    "kernels": ("kernels", "outline"),
    "schedules": ("kernels with schedules", "schedule"),
    "loops": ("loops", "lower"),
}
STAGES = tuple(_TITLES)


def stage_of(module: Module) -> Stage:
    """What a module's IR is made of."""
    if not module.is_program:
        return "groups" if any(isinstance(op, GroupOp) for op in module.main.walk()) else "graph"
    functions = [op for op in module.op.ops if isinstance(op, FuncOp)]
    structured = [f for f in functions if any(op.name == "linalg.generic" for op in f.walk())]
    if (
        not structured
    ):  # kernels may be plain loops from the beginning (scatter, nonzero); lowered ones keep their schedules
        return "loops" if any("kernel.schedule" in f.attributes for f in functions) else "kernels"
    return "schedules" if all("kernel.schedule" in f.attributes for f in structured) else "kernels"


def require_order(module: Module, sequence: Sequence[Pass]) -> None:
    """Raises MlcError for the first pass that would meet another stage than it takes."""
    stage = stage_of(module)
    before: list[str] = []
    for step in sequence:
        if step.takes and stage not in step.takes:
            raise MlcError(
                f"pass '{step.name}' takes {_title(step.takes[0])}, and {_at(before)} the module is {_title(stage)}",
                remedy=_remedy(step, stage),
            )
        stage = step.gives or stage
        before.append(step.name)


def _title(stage: Stage) -> str:
    return _TITLES[stage][0]


def _at(before: Sequence[str]) -> str:
    return f"after '{before[-1]}'" if before else "as it comes"


def _remedy(step: Pass, stage: Stage) -> str:
    have, want = STAGES.index(stage), STAGES.index(step.takes[0])
    if have > want:
        return f"Run {step.name} earlier: there is no way back to {_title(step.takes[0])}."
    lead = [_TITLES[name][1] for name in STAGES[have + 1 : want + 1]]
    return f"Run {', '.join(lead)} before it: {','.join([*lead, step.name])}."
