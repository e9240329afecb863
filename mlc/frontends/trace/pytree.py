"""Pytrees: nested containers of tensors, as arguments and results of functions.

dict (by sorted key), list, tuple, namedtuple, dataclass and None are containers, and what `register` adds; everything else is a leaf.

    leaves, tree = flatten({"w": w, "b": [b0, b1]})     [b0, b1, w]
    tree.unflatten(leaves)                              {"b": [b0, b1], "w": w}
    tree.paths()                                        [".b[0]", ".b[1]", ".w"]
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from mlc.errors import MlcError


class Container(NamedTuple):
    """How a type of containers is taken apart: (names of the children, the children, what else it holds), and put together again."""

    flatten: Callable[[Any], tuple[Sequence[str], Sequence[Any], Hashable]]
    unflatten: Callable[[Any, Sequence[Any]], Any]


@dataclass(frozen=True)
class Tree:
    """The structure of a pytree: equal for values that differ in their leaves alone. `kind` is None for a leaf."""

    kind: type | None = None
    data: Hashable = None
    names: tuple[str, ...] = ()
    children: tuple[Tree, ...] = ()

    def unflatten(self, leaves: Sequence[Any]) -> Any:
        """The pytree with these leaves. Raises MlcError for another number of them."""
        left = iter(leaves)
        if len(leaves) != self.size:
            raise MlcError(f"a pytree of {self.size} leaves cannot be made of {len(leaves)}")
        return self._build(left)

    def _build(self, leaves: Iterator[Any]) -> Any:
        if self.kind is None:
            return next(leaves)
        return _container(self.kind).unflatten(self.data, [child._build(leaves) for child in self.children])

    @property
    def size(self) -> int:
        """The number of leaves."""
        return 1 if self.kind is None else sum(child.size for child in self.children)

    def paths(self) -> list[str]:
        """Where each leaf is, as Python would write it behind the whole: [".w", "[0]"]."""
        if self.kind is None:
            return [""]
        return [name + path for name, child in zip(self.names, self.children, strict=True) for path in child.paths()]


_LEAF = Tree()


def plain_name(path: str) -> str:
    """A path as names in files and patterns have it: layers.0.weight for .layers[0]['weight']."""
    return re.sub(r"\[(['\"]?)(.*?)\1\]", r".\2", path).removeprefix(".")


def flatten(tree: Any) -> tuple[list[Any], Tree]:
    """The leaves of a pytree, and its structure."""
    leaves: list[Any] = []
    return leaves, _flatten(tree, leaves)


def _flatten(tree: Any, leaves: list[Any]) -> Tree:
    kind = type(tree)
    container = _CONTAINERS.get(kind) or _derived(kind)
    if container is None:
        leaves.append(tree)
        return _LEAF
    names, children, data = container.flatten(tree)
    return Tree(kind, data, tuple(names), tuple([_flatten(child, leaves) for child in children]))


def flatten_named(values: Mapping[str, Any]) -> tuple[list[Any], Tree]:
    """As `flatten`, of the tuple of the values, whose children have these names."""
    leaves: list[Any] = []
    children = tuple([_flatten(value, leaves) for value in values.values()])
    return leaves, Tree(tuple, len(children), tuple(f".{name}" for name in values), children)


def leaves_of(tree: Any) -> list[Any]:
    """The leaves of a pytree, in order."""
    return flatten(tree)[0]


def tree_map(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """A pytree of function(leaf, ...) for the leaves of pytrees of one structure. Raises MlcError where the structures differ."""
    leaves, structure = flatten(tree)
    columns = [leaves]
    for other in others:
        more, found = flatten(other)
        if found != structure:
            raise MlcError("mlc.tree.map: the pytrees have different structures", remedy=difference(structure, found))
        columns.append(more)
    return structure.unflatten([function(*row) for row in zip(*columns, strict=True)])


def difference(first: Tree, second: Tree, path: str = "") -> str:
    """A sentence on the first place where two structures differ."""
    kinds = [tree.kind.__name__ if tree.kind else "a leaf" for tree in (first, second)]
    where = path or "the whole"
    if first.kind is not second.kind:
        return f"At {where} there is {kinds[0]} in one and {kinds[1]} in the other."
    if first.names != second.names or first.data != second.data:
        return f"At {where} ({kinds[0]}) one has {', '.join(first.names) or 'nothing'}, the other {', '.join(second.names) or 'nothing'}."
    for name, one, other in zip(first.names, first.children, second.children, strict=True):
        if one != other:
            return difference(one, other, path + name)
    return "They are equal."


def register(
    kind: type,
    flatten: Callable[[Any], tuple[Sequence[Any], Hashable]],
    unflatten: Callable[[Any, Sequence[Any]], Any],
) -> None:
    """Make a class a container: flatten(value) gives (children, data), unflatten(data, children) the value again; data is hashable."""

    def named(value: Any) -> tuple[Sequence[str], Sequence[Any], Hashable]:
        children, data = flatten(value)
        return [f"[{number}]" for number in range(len(children))], children, data

    _CONTAINERS[kind] = Container(named, unflatten)


def _dict(value: dict[Any, Any]) -> tuple[Sequence[str], Sequence[Any], Hashable]:
    try:
        keys = sorted(value)
    except TypeError as error:
        raise MlcError(
            f"a dict of the keys {list(value)} has no order", remedy="Give keys of one type, as strings."
        ) from error
    names = [f".{key}" if isinstance(key, str) and key.isidentifier() else f"[{key!r}]" for key in keys]
    return names, [value[key] for key in keys], tuple(keys)


def _sequence(value: Sequence[Any]) -> tuple[Sequence[str], Sequence[Any], Hashable]:
    return [f"[{number}]" for number in range(len(value))], value, len(value)


_CONTAINERS: dict[type, Container] = {
    dict: Container(_dict, lambda keys, children: dict(zip(keys, children, strict=True))),
    list: Container(_sequence, lambda _, children: list(children)),
    tuple: Container(_sequence, lambda _, children: tuple(children)),
    type(None): Container(lambda _: ((), (), None), lambda _, children: None),
}


def _container(kind: type) -> Container:
    found = _CONTAINERS.get(kind) or _derived(kind)
    assert found is not None
    return found


def _derived(kind: type) -> Container | None:
    """Named tuples and dataclasses describe themselves."""
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        _CONTAINERS[kind] = _of_fields(kind._fields, lambda children: kind(*children))
    elif dataclasses.is_dataclass(kind):
        fields = tuple(field.name for field in dataclasses.fields(kind))
        _CONTAINERS[kind] = _of_fields(fields, lambda children: _instance(kind, fields, children))
    return _CONTAINERS.get(kind)


def _of_fields(fields: tuple[str, ...], build: Callable[[Sequence[Any]], Any]) -> Container:
    names = [f".{field}" for field in fields]
    return Container(
        lambda value: (names, [getattr(value, field) for field in fields], None), lambda _, children: build(children)
    )


def _instance(kind: type, names: Sequence[str], children: Sequence[Any]) -> Any:
    """A dataclass with these fields; its __init__ may take fewer of them, so that it is not called."""
    made: Any = object.__new__(kind)
    for name, child in zip(names, children, strict=True):
        object.__setattr__(made, name, child)
    return made
