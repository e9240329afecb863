"""The gradient of a traced function, as a part of the function being traced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlc.errors import DTypeError, MlcError
from mlc.frontends.trace.inline import inline
from mlc.frontends.trace.pytree import Tree, flatten
from mlc.frontends.trace.tensor import Tensor, symbolic, type_text
from mlc.frontends.trace.traced import Traced
from mlc.frontends.trace.tracing import current_trace
from mlc.ir.types import dtype_of, is_float, tensor_type
from mlc.ir.types import type_text as text_of
from mlc.passes.autodiff import algebra
from mlc.passes.autodiff.expansion import write_out
from mlc.passes.autodiff.pull import pull
from mlc.passes.graph.cse import Cse
from mlc.passes.graph.dce import Dce


class Differentiable:
    """A traced function whose first result is a number, to be differentiated by its first argument."""

    def __init__(self, traced: Traced):
        self.traced = traced
        self.params: Tree = traced.arguments.children[0]
        sources = traced.module.main.body.block.args[: self.params.size]
        for name, source in zip(traced.module.input_names, sources, strict=False):
            if not is_float(dtype_of(source)):
                raise DTypeError(
                    f"the parameter {name} is {text_of(tensor_type(source))}, and has no gradient",
                    remedy="Parameters are floats; give numbers of another kind to the function as part of the batch.",
                )
        write_out(traced.module.main.body.block, sources)
        Cse().run(traced.module)
        Dce().run(traced.module)

    def value_and_grad(self, params: Any, *others: Any) -> tuple[Tensor, Any, Any]:
        """What the function returns first, what else it returns, and the gradient, which is like the parameters. Arguments are symbolic."""
        leaves = flatten(params)[0]
        found = inline(self.traced.module, [*leaves, *flatten(others)[0]])
        value, *more = self.traced.results.unflatten(found)
        return value, more, self.params.unflatten(gradients(value, leaves))


def gradients(value: Tensor, wrt: Sequence[Tensor]) -> list[Tensor]:
    """The derivatives of a symbolic number by symbolic tensors that it was computed from."""
    trace = current_trace()
    assert trace is not None and trace.block is not None
    sources = [x.data for x in wrt]
    found = pull(trace.block, [(value.data, algebra.like(value.data, 1))], sources)
    return [symbolic(algebra.like(x, 0) if c is None else c, trace) for x, c in zip(sources, found, strict=True)]


def require_number(value: Any, name: str, line: str | Callable[[], str]) -> None:
    """Raises MlcError for a loss that is not one float."""
    if isinstance(value, Tensor) and value.shape == () and value.dtype.kind not in "iub":
        return
    what = type_text(value) if isinstance(value, Tensor) else type(value).__name__
    raise MlcError(
        f"the loss of {name} is {what}, and not one float",
        file=line if isinstance(line, str) else line(),
        remedy="Take the mean or the sum of it: loss.mean().",
    )
