"""What optimisers share: a rule for one parameter becomes `init` and `update` of pytrees, and an object that steps in the eager manner.

class Descent(Optimizer):
    def __init__(self, lr: Rate = 1e-3):
        super().__init__(lr)

    def rule(self, p, g, kept, now):
        return p - now["lr"] * g, {}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar
from weakref import WeakSet

import mlc.numpy as mnp
from mlc.errors import MlcError, ShapeError
from mlc.frontends.trace.pytree import difference, flatten
from mlc.frontends.trace.tensor import Tensor, type_text
from mlc.frontends.trace.tracing import user_line
from mlc.other_frameworks import check_keywords

Rate = float | Callable[[Tensor], Any]  # a number, or a function of how many updates there were, an i64 scalar
Number = Tensor | float
Slots = dict[str, Any]
_COMPILED: WeakSet[Any] = WeakSet()  # optimisers that are parts of steps, whose options are constants of their code
Hessian = Callable[[Any], Any]


class Optimizer:
    """A rule by which parameters follow their gradients. Subclasses state `rule`, `slots`, and `numbers` where those need more than the rate.

    lr     the learning rate: a number, or a schedule (mlc.optim.schedules), a function of the number of updates done before this one
    slots  what is kept for each parameter, and begins as zeros in its shape and dtype, unless `start` says otherwise

    An update of parameters of 16 bits computes in f32, and keeps that: squares of gradients, and Adam's eps, are 0 in f16, and in bf16 a mean
    does not follow what is less than 1/256 of it. The parameter is rounded once.

    The state is {"step": updates done so far, i64, slot: a pytree like the parameters, ...}, and what `shared` adds. The numbers of an update
    (rate, corrections of averages) are computed in f64 and rounded once to the dtype of the update.
    """

    slots: ClassVar[tuple[str, ...]] = ()
    curved: ClassVar[bool] = False  # whether `update` needs products with the Hessian of the loss

    def __new__(cls, *args: Any, **options: Any) -> Any:
        """Adam(params, lr=...), or of a module, is bound to the parameters; Adam(1e-3) and Adam(lr=1e-3) are not."""
        first = args[0].parameters() if args and hasattr(args[0], "parameters") else args[0] if args else 0
        if not isinstance(first, bool | int | float | Optimizer) and not callable(first):
            return Bound(cls(*args[1:], **options), first)
        check_keywords(cls, options)
        return super().__new__(cls)

    def __init__(self, lr: Rate):
        if not callable(lr):
            require("lr", lr, isinstance(lr, int | float) and lr >= 0, "a number of at least 0, or a schedule")
        self.lr = lr

    def __setattr__(self, name: str, value: Any) -> None:
        if self in _COMPILED and name in vars(self):
            raise MlcError(
                f"{name} of {self!r} is a constant of a compiled step",
                file=user_line(),
                remedy="A rate that changes is a schedule, a function of how many updates there were: lr=lambda step: 1e-3 / (1 + step / 100).",
            )
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in vars(self).items() if name != "slots")
        return f"{type(self).__name__}({options})"

    def init(self, params: Any) -> dict[str, Any]:
        """The state before the first update."""
        leaves, tree = flatten(params)
        kept = [self.start(widened(p)) for p in leaves]
        slots = {slot: tree.unflatten([each[slot] for each in kept]) for slot in self.slots}
        return {"step": mnp.zeros((), "i64"), **self.first(), **slots}

    def update(
        self, grads: Any, state: Mapping[str, Any], params: Any, hessian: Hessian | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Parameters and state after an update. `hessian` gives H v for v, both like the parameters: methods that are `curved` need it. Raises
        MlcError where the gradients are not of the structure of the parameters."""
        leaves, tree = flatten(params)
        gradients = leaves_like(tree, grads, "gradients")
        kept = {slot: leaves_like(tree, state[slot], f"state '{slot}'") for slot in self.slots}
        shared = self.shared(state)
        numbers = Numbers(self.numbers(state["step"], shared))
        found: list[tuple[Any, Slots]] = []
        for number, (p, g) in enumerate(zip(leaves, gradients, strict=True)):
            dtype, p = mnp.asarray(p).dtype, widened(p)
            g = g if p.dtype == dtype else widened(g)
            new, after = self.rule(p, g, {slot: kept[slot][number] for slot in self.slots}, numbers.of(p.dtype))
            found.append((new if p.dtype == dtype else new.astype(dtype), after))
        slots = {slot: tree.unflatten([after[slot] for _, after in found]) for slot in self.slots}
        return tree.unflatten([p for p, _ in found]), {"step": state["step"] + 1, **shared, **slots}

    def point(self, state: Mapping[str, Any], params: Any) -> Any:
        """Where the gradient that `update` takes is taken."""
        return params

    def start(self, p: Tensor) -> Slots:
        """What is kept for a parameter before the first update."""
        return {slot: mnp.zeros_like(p) for slot in self.slots}

    def first(self) -> dict[str, Tensor]:
        """What is kept once, for all parameters, before the first update."""
        return {}

    def shared(self, state: Mapping[str, Any]) -> dict[str, Tensor]:
        """What is kept once, after an update of this state."""
        return {}

    def numbers(self, step: Tensor, shared: Mapping[str, Tensor]) -> dict[str, Number]:
        """The numbers of an update, the same for all parameters; `step` is how many updates were done before it."""
        return {"lr": self.rate(step)}

    def rate(self, step: Tensor) -> Number:
        """The learning rate of this update."""
        return self.lr(step) if callable(self.lr) else self.lr

    def rule(self, p: Tensor, g: Tensor, kept: Slots, now: Mapping[str, Any]) -> tuple[Tensor, Slots]:
        """One parameter and its slots after the update, given the gradient and the numbers, all of one dtype."""
        raise NotImplementedError(type(self).__name__)


def keep_options(optimizer: Any) -> None:
    """Refuse, from here on, to change the options of an optimiser and of those inside of it: compiled code would not see it."""
    if isinstance(optimizer, Optimizer) and optimizer not in _COMPILED:
        _COMPILED.add(optimizer)
        for value in vars(optimizer).values():
            for each in value.values() if isinstance(value, dict) else [value]:
                keep_options(each)


class Numbers:
    """The numbers of an update in the dtypes that it computes in."""

    def __init__(self, exact: Mapping[str, Number]):
        self.exact = exact
        self._rounded: dict[Any, dict[str, Number]] = {}

    def of(self, dtype: Any) -> dict[str, Number]:
        if dtype not in self._rounded:
            self._rounded[dtype] = {
                name: x.astype(dtype) if isinstance(x, Tensor) else x for name, x in self.exact.items()
            }
        return self._rounded[dtype]


class Bound:
    """An optimiser with the parameters that it updates, in the eager manner: `loss.backward(); optimizer.step(); optimizer.zero_grad()`.

    The parameters are given new numbers in place. One without a gradient is left alone, as is what is kept for it.
    """

    def __init__(self, optimizer: Optimizer, params: Any):
        self.params = list(params) if not isinstance(params, Tensor | dict) else flatten(params)[0]
        for p in self.params:
            if not isinstance(p, Tensor):
                raise MlcError(f"{type(optimizer).__name__} updates tensors, not {type(p).__name__}", file=user_line())
        self.optimizer, self.state = optimizer, optimizer.init(self.params)

    def step(self) -> None:
        """Update the parameters by their gradients, `p.grad`."""
        chosen = [n for n, p in enumerate(self.params) if getattr(p, "grad", None) is not None]
        pick = lambda tree: [tree[n] for n in chosen]
        kept = {name: value if name == "step" else pick(value) for name, value in self.state.items()}
        params = pick(self.params)
        found, state = self.optimizer.update([p.grad for p in params], kept, params)
        for p, new in zip(params, found, strict=True):
            p.data = mnp.asarray(new).data
        for name, value in state.items():
            if name == "step":
                self.state[name] = value
            else:
                for n, new in zip(chosen, value, strict=True):
                    self.state[name][n] = new

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for p in self.params:
            p.grad = None

    def __repr__(self) -> str:
        return f"<{self.optimizer!r} of {len(self.params)} parameters>"


def leaves_like(tree: Any, other: Any, what: str) -> list[Any]:
    """The leaves of a pytree that has the structure of the parameters."""
    leaves, found = flatten(other)
    if found != tree:
        raise MlcError(
            f"the {what} are not of the structure of the parameters", file=user_line(), remedy=difference(tree, found)
        )
    return leaves


def widened(x: Any) -> Tensor:
    """x, in f32 where it has 16 bits."""
    x = mnp.asarray(x)
    return x.astype("f32") if x.dtype.itemsize < 4 else x


def require(name: str, value: Any, holds: bool, condition: str) -> None:
    """Raises MlcError for an option outside of its range."""
    if not holds:
        raise MlcError(f"{name} is {value!r}, and must be {condition}", file=user_line())


def sizes(p: Tensor) -> tuple[int, ...]:
    """The extents of a parameter. Raises ShapeError where one is symbolic."""
    found = [e for e in p.shape if isinstance(e, int)]
    if len(found) < p.ndim:
        raise ShapeError(f"a parameter is {type_text(p)}, and its extents must be numbers", file=user_line())
    return tuple(found)


def count(step: Tensor) -> Tensor:
    """The number of an update, counted from 1, in f64."""
    return step.astype("f64") + 1


def two_shares(betas: tuple[float, float]) -> tuple[float, float]:
    """Those of a mean and of a mean of squares."""
    require("betas", betas, isinstance(betas, tuple | list) and len(betas) == 2, "two numbers")
    return share("beta1", betas[0]), share("beta2", betas[1])


def share(name: str, value: float) -> float:
    """A share of the past: 0 <= value < 1."""
    require(name, value, 0 <= value < 1, "at least 0 and below 1")
    return value
