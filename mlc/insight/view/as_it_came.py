"""An ONNX graph as it came, as records: what a page shows of a model that cannot be imported."""

from __future__ import annotations

import os
from typing import Any

from mlc.frontends.onnx.node import node_name
from mlc.frontends.onnx.origins import origin_of
from mlc.frontends.onnx.reader import read
from mlc.insight.view.user_lines import relative_lines


def onnx_graph(source: str | os.PathLike[str] | bytes, until: str | None) -> tuple[list[list[Any]], dict[str, Any]]:
    """The records of a model's nodes, inputs and outputs, and where the nodes come from."""
    graph = read(source, until).proto.graph
    made: dict[str, int] = {}  # value -> record
    rows: list[list[Any]] = []
    nodes: dict[str, Any] = {}

    def add(kind: str, name: str, reads: list[str], gives: list[str]) -> None:
        number = len(rows)
        inputs = list(dict.fromkeys(made[value] for value in reads if value in made))
        rows.append([number, kind, name, "", "", inputs, -1, -1, ""])
        made.update(dict.fromkeys(gives, number))

    weights = {tensor.name for tensor in graph.initializer}
    for value in graph.input:
        if value.name not in weights:
            add("input", value.name, [], [value.name])
    for proto in graph.node:
        name = node_name(proto)
        add(proto.op_type, name, list(proto.input), list(proto.output))
        origin = origin_of(proto)
        path = list(origin.path) if origin else [part for part in name.split("/")[:-1] if part]
        nodes[name] = {"op": proto.op_type, "path": path, "line": origin.line if origin else ""}
    for value in graph.output:
        add("output", value.name, [value.name], [])
    return rows, relative_lines(nodes)
