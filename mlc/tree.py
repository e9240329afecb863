"""Pytrees, nested containers of tensors: `mlc.tree.map(lambda w, g: w - 0.1 * g, params, gradients)`. See docs/python-tracing.md."""

from mlc.frontends.trace.pytree import Tree, flatten, register
from mlc.frontends.trace.pytree import leaves_of as leaves
from mlc.frontends.trace.pytree import tree_map as map

__all__ = ["Tree", "flatten", "leaves", "map", "register"]
