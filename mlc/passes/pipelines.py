"""The passes by name, and the order they run in: written once, here.

O0   only lowers        O2   everything that keeps the arithmetic as written, but for constant factors at products, convolutions in fewer products and halves between ops (default)
O1   also simplifies    O3   also what changes rounding
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TypeVar

from mlc.errors import MlcError
from mlc.ir import outsiders
from mlc.ir.spelling import nearest
from mlc.passes.autodiff.differentiate import Autodiff
from mlc.passes.base import Pass, require_pass
from mlc.passes.graph.attention_blocks import ArrangeAttention
from mlc.passes.graph.batch_norm import FoldBatchNorm
from mlc.passes.graph.buckets import BucketCollectives, OverlapCollectives
from mlc.passes.graph.cse import Cse
from mlc.passes.graph.data_parallel import DataParallel
from mlc.passes.graph.dce import Dce
from mlc.passes.graph.decompose import Decompose, WriteCheckpoints
from mlc.passes.graph.fewer_products import Winograd
from mlc.passes.graph.fold import Fold
from mlc.passes.graph.fuse import Fuse
from mlc.passes.graph.growing import GrowInPlace
from mlc.passes.graph.integer_products import IntegerProducts
from mlc.passes.graph.layout import SelectLayout
from mlc.passes.graph.padding import ExpandPadding
from mlc.passes.graph.panels import PackLoopOperands
from mlc.passes.graph.projections import SplitProjections
from mlc.passes.graph.relax import RelaxArithmetic
from mlc.passes.graph.rematerialise import Rematerialise
from mlc.passes.graph.scales import MergeScales
from mlc.passes.graph.simplify import Simplify
from mlc.passes.graph.split_reductions import SplitReductions
from mlc.passes.graph.transposes import MoveTransposes
from mlc.passes.graph.weights_to_arguments import ArgumentsToWeights, WeightsToArguments
from mlc.passes.graph.wider_floats import WidenFloats
from mlc.passes.graph.window_places import ExpandPlaces
from mlc.passes.kernel.lowering import ChooseSchedules, LowerKernels, MergeLoops, OutlineKernels, PlanArena
from mlc.passes.kernel.rules.by_target import AT_HAND, target_of
from mlc.passes.kernel.specialise import Specialise

PassClass = TypeVar("PassClass", bound=Pass)
DEFAULT = "default"
BEFORE_FUSION = (Decompose, WriteCheckpoints, ExpandPadding)  # kernels are made of what these leave
LOWERING = (OutlineKernels, Specialise, MergeLoops, ChooseSchedules, LowerKernels, PlanArena)
PASSES: dict[str, type[Pass]] = {
    kind.name: kind
    for kind in (
        Decompose,
        Cse,
        Simplify,
        RelaxArithmetic,
        MergeScales,
        SplitProjections,
        ArrangeAttention,
        WidenFloats,
        Winograd,
        FoldBatchNorm,
        SelectLayout,
        IntegerProducts,
        MoveTransposes,
        Fold,
        WriteCheckpoints,
        ExpandPadding,
        ExpandPlaces,
        PackLoopOperands,
        Dce,
        WeightsToArguments,
        ArgumentsToWeights,
        DataParallel,
        Autodiff,
        GrowInPlace,
        SplitReductions,
        Fuse,
        Rematerialise,
        BucketCollectives,
        OverlapCollectives,
        *LOWERING,
    )
}


BUILT_IN = frozenset(PASSES)  # others are registered


def register_pass(kind: type[PassClass]) -> type[PassClass]:
    """Give a pass that is defined outside of mlc its name in pipelines; also a decorator. Raises MlcError for a name that is taken."""
    known = PASSES.get(kind.name)
    if kind.name == DEFAULT or (known is not None and known is not kind):
        owner = "the passes of the level" if known is None else f"{known.__module__}.{known.__qualname__}"
        raise MlcError(f"the name '{kind.name}' is taken by {owner}", remedy="Give the pass another name.")
    PASSES[kind.name] = kind
    outsiders.note(f"the pass {kind.name}", kind)
    return kind


def graph_passes(
    opt_level: int = 2, disable: Iterable[str] = (), target: str = AT_HAND, winograd: int = 0
) -> list[Pass]:
    """From an imported module to one that can be fused. `winograd` is the tile of that pass, for the machine `target`."""
    left_out = set(disable)
    for name in sorted(left_out - PASSES.keys()):
        raise unknown(name)
    levels: list[tuple[int, Pass]] = [
        (2, WidenFloats(target)),
        (2, FoldBatchNorm()),
        (0, Decompose(target)),
        (1, Cse()),
        (1, Simplify()),
        (3, RelaxArithmetic()),
        (2, FoldBatchNorm()),
        (2, SelectLayout()),
        (2, IntegerProducts()),
        (1, MoveTransposes()),
        (1, Fold()),
        (2, MergeScales()),
        (1, Simplify()),
        (2, SplitProjections()),
        (2, ArrangeAttention(target)),
        (2, Winograd(target, winograd)),
        (1, Fold()),
        (0, ExpandPadding()),
        (2, ExpandPlaces()),
        (1, Cse()),
        (0, WriteCheckpoints()),
        (2, PackLoopOperands()),
        (0, Dce()),
    ]
    return [step for level, step in levels if level <= opt_level and step.name not in left_out]


def readable_passes() -> list[Pass]:
    """What makes a graph shorter to read: composites, layouts and weights stay as the model has them."""
    return [Simplify(), Cse(), Dce()]


def lowering_passes(
    target: str = AT_HAND,
    fuse: bool = True,
    sizes: str = "",
    memory_budget: int | None = None,
    ranks: bool = False,
) -> list[Pass]:
    """From a graph to loops that a printer takes. Without `fuse` every op is a kernel of its own; `sizes` get kernels of their own; values are
    computed again where else more than `memory_budget` bytes of intermediate results were alive. For a GPU long reductions are split. `ranks` is
    of a graph with sums over ranks."""
    split: list[Pass] = [SplitReductions(target)] if target_of(target).lowering.threads > 1 else []
    online = target_of(target).lowering.online
    grouping: list[Pass] = [*split, Fuse(online=online) if fuse else Fuse(max_ops=1)]
    grouping += [] if memory_budget is None else [Rematerialise(str(memory_budget))]
    grouping += [BucketCollectives(), OverlapCollectives()] if ranks else []
    special = [Specialise(sizes)] if sizes else []
    loops = [MergeLoops(), ChooseSchedules(target), LowerKernels(target)]
    return [*grouping, OutlineKernels(), *special, *loops, PlanArena()]


def pipeline(
    opt_level: int = 2,
    target: str = AT_HAND,
    disable: Iterable[str] = (),
    passes: str | Sequence[Pass | str] | None = None,
    sizes: str = "",
    memory_budget: int | None = None,
    winograd: int = 0,
    ranks: bool = False,
) -> list[Pass]:
    """All passes from an imported module to loops for the machine `target`. `passes`, as text or one by one, take the place of the graph passes; the name
    "default" among them stands for those of the level. They may name some of the last ones too, which are then not added again. `sizes` get code of their own, as in "N@8;N@1,T@128".
    Under a `memory_budget` of bytes, values are computed again instead of being kept. `winograd` is the tile of that pass, 0 for the faster; `ranks` is
    of a module with sums over ranks."""
    left_out = set(disable)
    if needed := sorted(left_out & {kind.name for kind in (*BEFORE_FUSION, *LOWERING)}):
        raise MlcError(f"pass '{needed[0]}' cannot be left out", remedy="--stop-after shows the module before it.")
    first = graph_passes(opt_level, left_out, target, winograd)
    if passes is not None:
        given = [passes] if isinstance(passes, str) else passes
        first = [
            step for item in given for step in (parse(item, first) if isinstance(item, str) else [require_pass(item)])
        ]
        first = _with_needed(first)
    named = {step.name for step in first}
    if sizes and Specialise.name in named:
        raise MlcError(
            f"the pass list specialises already, and is asked to for {sizes}", remedy="Leave one of them out."
        )
    if memory_budget is not None and (late := named & {Rematerialise.name, OutlineKernels.name}):
        raise MlcError(
            f"the pass list runs {min(late)} itself, and a memory budget is given",
            remedy=f"Leave one of them out, or write {Rematerialise.name}{{budget={memory_budget}}} behind fuse.",
        )
    if Rematerialise.name in left_out:
        memory_budget = None
    last = lowering_passes(target, opt_level > 0 and Fuse.name not in left_out, sizes, memory_budget, ranks)
    return [*first, *(step for step in last if step.name not in named)]


def _with_needed(given: list[Pass]) -> list[Pass]:
    """The passes, with what fusion needs in front of it or, where it is not among them, behind all; and merged loops for schedules."""
    named = [step.name for step in given]
    if ChooseSchedules.name in named and MergeLoops.name not in named:
        place = named.index(ChooseSchedules.name)
        given, named = [*given[:place], MergeLoops(), *given[place:]], [*named[:place], MergeLoops.name, *named[place:]]
    place = next((i for i, name in enumerate(named) if name == Fuse.name), len(given))
    needed = [kind() for kind in BEFORE_FUSION if kind.name not in named[:place]]
    past = any(name in named[:place] for name in (kind.name for kind in LOWERING))
    return given if past else [*given[:place], *needed, *given[place:]]


def parse(text: str, default: Sequence[Pass] | None = None) -> list[Pass]:
    """Passes from text: decompose,fuse{max-ops=8},dce. The name "default" stands for the graph passes of the default level, or those given.
    Raises MlcError for a name or option that does not exist."""
    steps: list[Pass] = []
    for match in re.finditer(r"\s*([\w-]+)\s*(?:\{([^}]*)\})?\s*(,|$)|(.)", text):
        name, options, _, wrong = match.groups()
        if wrong is not None:
            raise MlcError(
                f"the pipeline {text!r} does not parse at {text[match.start() :]!r}",
                remedy="Write pass,pass{option=value}.",
            )
        if name == DEFAULT:
            steps += graph_passes() if default is None else default
            continue
        if name not in PASSES:
            raise unknown(name)
        pairs = [pair.partition("=") for pair in re.split(r",(?=\s*[\w-]+\s*=)", options or "") if pair.strip()]
        steps.append(PASSES[name].of({key.strip(): value.strip() for key, _, value in pairs}))
    return steps


def unknown(name: str) -> MlcError:
    """The error for a name that no pass has, with the nearest one."""
    near = nearest(name, PASSES)
    return MlcError(
        f"there is no pass '{name}'", remedy=f"Did you mean '{near[0]}'?" if near else f"Passes: {', '.join(PASSES)}."
    )
