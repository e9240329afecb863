"""Optimisers around optimisers: what is done to gradients before, and to parameters after.

Averaged(ClipByNorm(Adam(1e-3), 1.0), 0.999)
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import mlc.numpy as mnp
from mlc.errors import MlcError
from mlc.frontends.trace.pytree import Tree, flatten, plain_name, tree_map
from mlc.frontends.trace.tracing import user_line
from mlc.optim.descent import averaged
from mlc.optim.update_rule import Hessian, Optimizer, leaves_like, require, share, widened
from mlc.other_frameworks import check_keywords

State = dict[str, Any]


class Wrapper(Optimizer):
    """An optimiser inside of which another one does the update. Its state is the other's, unless it adds to that."""

    def __new__(cls, *args: Any, **options: Any) -> Any:
        check_keywords(cls, options)
        return object.__new__(cls)

    def __init__(self, optimizer: Optimizer):
        if not isinstance(optimizer, Optimizer):
            raise MlcError(
                f"{type(self).__name__} wraps an optimiser, not {optimizer!r}",
                file=user_line(),
                remedy="Parameters are bound to the whole: Bound(ClipByNorm(Adam(1e-3), 1.0), params).",
            )
        self.optimizer = optimizer

    @property
    def curved(self) -> bool:  # type: ignore[override]
        return self.optimizer.curved

    def init(self, params: Any) -> State:
        return self.optimizer.init(params)

    def point(self, state: Mapping[str, Any], params: Any) -> Any:
        return self.optimizer.point(state, params)

    def update(
        self, grads: Any, state: Mapping[str, Any], params: Any, hessian: Hessian | None = None
    ) -> tuple[Any, State]:
        return self.optimizer.update(self.changed(grads), state, params, hessian)

    def changed(self, grads: Any) -> Any:
        """The gradients that the inner optimiser sees."""
        return grads


class ClipByNorm(Wrapper):
    """Gradients whose norm, of all of them together, is above `norm` are scaled by norm / (theirs + 1e-6): torch.nn.utils.clip_grad_norm_.

    All gradients are needed before the first update, so that none of their memory is free earlier.
    """

    def __init__(self, optimizer: Optimizer, norm: float):
        super().__init__(optimizer)
        require("norm", norm, norm > 0, "above 0")
        self.norm = norm

    def changed(self, grads: Any) -> Any:
        leaves = flatten(grads)[0]
        if not leaves:
            return grads
        squares = [widened(g) ** 2 for g in leaves]
        total = mnp.sqrt(sum(square.sum().astype("f64") for square in squares))
        scale = mnp.minimum(self.norm / (total + 1e-6), 1.0)
        return tree_map(lambda g: g * scale.astype(g.dtype), grads)


class ClipByValue(Wrapper):
    """Each element of the gradients is kept within -value and value."""

    def __init__(self, optimizer: Optimizer, value: float):
        super().__init__(optimizer)
        require("value", value, value > 0, "above 0")
        self.value = value

    def changed(self, grads: Any) -> Any:
        return tree_map(lambda g: mnp.clip(g, -self.value, self.value), grads)


class Accumulate(Wrapper):
    """One update by the mean of the gradients of `every` calls, micro-batches of one batch. In between, the parameters stay.

    The state has the inner one's as "inner", the sum of the gradients so far, "sum", and of how many these are, "calls".
    """

    def __init__(self, optimizer: Optimizer, every: int):
        super().__init__(optimizer)
        require("every", every, isinstance(every, int) and every >= 1, "a whole number of at least 1")
        self.every = every

    def init(self, params: Any) -> State:
        zeros = tree_map(lambda p: mnp.zeros_like(widened(p)), params)
        return {"inner": self.optimizer.init(params), "sum": zeros, "calls": mnp.zeros((), "i64")}

    def point(self, state: Mapping[str, Any], params: Any) -> Any:
        return self.optimizer.point(state["inner"], params)

    def update(
        self, grads: Any, state: Mapping[str, Any], params: Any, hessian: Hessian | None = None
    ) -> tuple[Any, State]:
        total = tree_map(lambda s, g: s + widened(g), state["sum"], grads)
        mean = tree_map(lambda s: s / self.every, total)
        moved, inner = self.optimizer.update(mean, state["inner"], params, hessian)
        due = state["calls"] + 1 == self.every
        chosen = lambda new, old: tree_map(lambda x, y: mnp.where(due, x, y), new, old)
        return chosen(moved, params), {
            "inner": chosen(inner, state["inner"]),
            "sum": tree_map(lambda s: mnp.where(due, mnp.zeros_like(s), s), total),
            "calls": mnp.where(due, 0, state["calls"] + 1),
        }


class Averaged(Wrapper):
    """The parameters' running mean, decay * mean + (1 - decay) * p after each update, is kept as "average" in the state: use the model with that
    (Polyak and Juditsky 1992). It begins as the parameters. The inner optimiser's state is "inner"."""

    def __init__(self, optimizer: Optimizer, decay: float = 0.999):
        super().__init__(optimizer)
        self.decay = share("decay", decay)

    def init(self, params: Any) -> State:
        return {"inner": self.optimizer.init(params), "average": tree_map(widened, params)}

    def point(self, state: Mapping[str, Any], params: Any) -> Any:
        return self.optimizer.point(state["inner"], params)

    def update(
        self, grads: Any, state: Mapping[str, Any], params: Any, hessian: Hessian | None = None
    ) -> tuple[Any, State]:
        moved, inner = self.optimizer.update(grads, state["inner"], params, hessian)
        average = tree_map(lambda mean, p: averaged(mean, widened(p), self.decay), state["average"], moved)
        return moved, {"inner": inner, "average": average}


class Groups(Optimizer):
    """An optimiser for each group of parameters, by patterns of their names, the first that fits: Groups({"*.bias": SGD(0.1), "*": AdamW(1e-3)}).

    Names are those of checkpoints: layers.0.bias for params["layers"][0]["bias"], and 0.bias for that of a module. In patterns * stands for
    anything, ? for one character. The state is a list of one per pattern.
    """

    def __new__(cls, optimizers: Mapping[str, Optimizer]) -> Any:
        return object.__new__(cls)

    def __init__(self, optimizers: Mapping[str, Optimizer]):
        self.optimizers = dict(optimizers)
        for optimizer in self.optimizers.values():
            if not isinstance(optimizer, Optimizer) or optimizer.curved:
                raise MlcError(f"a group has an optimiser of first order, not {optimizer!r}", file=user_line())

    def init(self, params: Any) -> Any:
        leaves, tree = flatten(params)
        return [o.init([leaves[n] for n in members]) for o, members in self._members(tree)]

    def point(self, state: Any, params: Any) -> Any:
        leaves, tree = flatten(params)
        for own, (optimizer, members) in zip(state, self._members(tree), strict=True):
            for n, moved in zip(members, optimizer.point(own, [leaves[n] for n in members]), strict=True):
                leaves[n] = moved
        return tree.unflatten(leaves)

    def update(self, grads: Any, state: Any, params: Any, hessian: Hessian | None = None) -> tuple[Any, Any]:
        leaves, tree = flatten(params)
        gradients, states = leaves_like(tree, grads, "gradients"), []
        for own, (optimizer, members) in zip(state, self._members(tree), strict=True):
            found, new = optimizer.update([gradients[n] for n in members], own, [leaves[n] for n in members])
            states.append(new)
            for n, moved in zip(members, found, strict=True):
                leaves[n] = moved
        return tree.unflatten(leaves), states

    def _members(self, tree: Tree) -> list[tuple[Optimizer, list[int]]]:
        found: dict[str, list[int]] = {pattern: [] for pattern in self.optimizers}
        for number, path in enumerate(tree.paths()):
            name = plain_name(path)
            pattern = next((p for p in self.optimizers if fnmatchcase(name, p)), None)
            if pattern is None:
                raise MlcError(
                    f"no group takes the parameter {name}", file=user_line(), remedy='End with "*", for all others.'
                )
            found[pattern].append(number)
        return [(optimizer, found[pattern]) for pattern, optimizer in self.optimizers.items()]
