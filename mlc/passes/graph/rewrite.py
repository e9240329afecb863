"""Rules and the engine that applies them until none matches.

A rule takes an op and the module and builds, at the op's place and with its location, what replaces the op's results:

    @rule(TransposeOp)
    def merge_transposes(op: TransposeOp, module: Module) -> SSAValue | None:
        inner = op.x.owner
        if not isinstance(inner, TransposeOp):
            return None
        return g.transpose(inner.x, [inner.permutation.get_values()[a] for a in op.permutation.get_values()])

Nothing but results is exchanged, so a rule cannot leave an op half changed. Ops that lose their last use vanish at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from xdsl.builder import Builder
from xdsl.ir import Block, Operation, SSAValue
from xdsl.rewriter import InsertPoint
from xdsl.traits import Pure

from mlc.errors import InternalError
from mlc.ir import work
from mlc.ir.graph.base import building, location
from mlc.ir.module import Module

Replacement = SSAValue | Sequence[SSAValue] | None
Rule = Callable[[Any, Module], Replacement]

_TURNS = 2  # ops looked at for each rewrite that there may be
_STEPS_PER_OP = 200  # rewrites after which two rules are taken to undo each other


def rule(*classes: type[Operation]) -> Callable[[Rule], Rule]:
    """Names the op classes (or families) that a rule is asked about."""

    def mark(function: Rule) -> Rule:
        function.classes = classes  # type: ignore[attr-defined]
        return function

    return mark


@contextmanager
def before(op: Operation, module: Module) -> Iterator[None]:
    """Ops built inside stand before `op` and come from where it came from."""
    with building(Builder(InsertPoint.before(op)), module.checks), location(op.location):
        yield


def replace(op: Operation, results: Sequence[SSAValue]) -> None:
    """Uses of the op's results become uses of these values; the op is erased."""
    for old, new in zip(op.results, results, strict=True):
        if new.name_hint is None and old.name_hint is not None:
            new.name_hint = old.name_hint
        old.replace_all_uses_with(new)
    erase(op)


def erase(op: Operation) -> None:
    """Take out an op whose results have no use."""
    op.detach()
    op.erase()


def is_dead(op: Operation) -> bool:
    """No result is used and nothing else happens."""
    return all(result.first_use is None for result in op.results) and op.has_trait(Pure)


def rewrite(module: Module, rules: Iterable[Rule]) -> int:
    """Apply the rules to every op, bodies included, until none matches; returns the number of rewrites.

    Raises InternalError where rules go round in a circle.
    """
    return _Engine(module, list(rules)).run()


class _Engine:
    def __init__(self, module: Module, rules: Sequence[Rule]):
        self.module = module
        self.rules = rules
        self.by_class: dict[type[Operation], list[Rule]] = {}
        self.queue: deque[Operation] = deque(op for op in module.op.walk())
        self.queued: set[Operation] = set(self.queue)
        self.limit = 1000 + _STEPS_PER_OP * len(self.queue)

    def run(self) -> int:
        count = turns = 0
        while self.queue:
            op = self.queue.popleft()
            if (turns := turns + 1) > _TURNS * self.limit:
                raise InternalError(f"{turns} ops looked at without an end, at last {op.name}")
            self.queued.discard(op)
            if op.parent is None:
                continue
            work.on(op)
            if op.results and is_dead(op):
                operands = tuple(op.operands)
                erase(op)
                self._release(operands)
            elif self._apply(op):
                count += 1
                if count > self.limit:
                    raise InternalError(f"{count} rewrites without an end, at last of {op.name}")
        return count

    def _rules_of(self, kind: type[Operation]) -> list[Rule]:
        if kind not in self.by_class:
            self.by_class[kind] = [r for r in self.rules if issubclass(kind, r.classes)]  # type: ignore[attr-defined]
        return self.by_class[kind]

    def _apply(self, op: Operation) -> bool:
        rules = self._rules_of(type(op))
        if not rules:
            return False
        previous, block = op.prev_op, op.parent
        assert isinstance(block, Block)
        found: Replacement = None
        with before(op, self.module):
            for function in rules:
                found = function(op, self.module)
                if found is not None:
                    break
        made: list[Operation] = []
        new = block.first_op if previous is None else previous.next_op
        while new is not op and new is not None:
            made.append(new)
            new = new.next_op
        if (
            found is None
        ):  # what rules built before they gave up goes at once, and wakes nobody: they would build it again
            for built in reversed(made):
                if is_dead(built):
                    erase(built)
                else:
                    self._push_all(built)
            return False
        for built in made:
            self._push_all(built)
        results = (found,) if isinstance(found, SSAValue) else tuple(found)
        users = [use.operation for result in op.results for use in result.uses]
        operands = tuple(op.operands)
        replace(op, results)
        for user in users:
            self._push(user)
        self._release(operands)
        for value in results:
            if isinstance(value.owner, Operation):
                self._push(value.owner)
        return True

    def _release(self, values: Sequence[SSAValue]) -> None:
        """Values that have lost a use: what made them may be dead, and a last reader has them for itself now."""
        waiting = [*reversed(values)]
        while waiting:
            value = waiting.pop()
            owner = value.owner
            if not isinstance(owner, Operation) or owner.parent is None:
                continue
            if is_dead(owner):
                waiting += reversed(owner.operands)
                erase(owner)
                continue
            self._push(owner)
            if value.has_one_use():
                self._push(next(iter(value.uses)).operation)

    def _push_all(self, op: Operation) -> None:
        for inner in op.walk():
            self._push(inner)

    def _push(self, op: Operation) -> None:
        if op not in self.queued:
            self.queued.add(op)
            self.queue.append(op)
