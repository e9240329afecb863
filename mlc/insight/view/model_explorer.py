"""A graph for Model Explorer (pip install ai-edge-model-explorer; model-explorer graph.json), in the form its loader of JSON takes: a label and a
list of graphs, nodes with the numbers of those that they read. Modules and kernels are its layers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlc.ir.module import Module


def graph_json(module: Module, name: str, stage: str) -> str:
    """@main as a graph called by its stage; constants are left out."""
    from mlc.insight.view.recorder import nodes_of
    from mlc.insight.view.records import Graphs

    rows, _ = Graphs().add(module)
    shown = {row[0]: row for row in rows if row[1] not in ("weight", "constant", "kernel.weight")}
    holders = {row[6] for row in rows}
    paths = nodes_of(module)
    around_of: dict[int, Counter[str]] = {}  # the modules of what each op holds
    for row in shown.values():
        around_of.setdefault(row[6], Counter())[_layer(paths, row[2])] += 1
    layers: dict[int, str] = {}  # of what holds others, the layer that these are in
    nodes = []
    for number, kind, origin, type, attributes, reads, parent, *_ in shown.values():
        first = origin.split("\n")[0]
        outer = layers.get(parent)
        around = _layer(paths, origin) if outer is None else outer
        if number in holders:  # a kernel or a loop is a layer
            title = attributes.removeprefix("kind = ") if kind == "group" else kind
            if outer is None and number in around_of:
                around = around_of[number].most_common(1)[0][0]
            layers[number] = f"{around}/{_part(f'{title} {number}')}".lstrip("/")
            continue
        facts = {
            "node": origin.replace("\n", ", "),
            "line": paths.get(first, {}).get("line", ""),
            "attributes": attributes,
        }
        node: dict[str, Any] = {"id": str(number), "label": kind, "namespace": around}
        node["attrs"] = [{"key": key, "value": value} for key, value in facts.items() if value]
        node["incomingEdges"] = [
            {"sourceNodeId": str(source), "sourceNodeOutputId": "0", "targetNodeInputId": str(place)}
            for place, source in enumerate(source for source in reads if source in shown and source not in holders)
        ]
        types = [text for text in type.split("; ") if text]
        node["outputsMetadata"] = [
            {"id": str(place), "attrs": [{"key": "shape", "value": text}]} for place, text in enumerate(types)
        ]
        nodes.append(node)
    return json.dumps({"label": name, "graphs": [{"id": stage, "nodes": nodes}]}, indent=1) + "\n"


def _layer(paths: Mapping[str, Mapping[str, Any]], origin: str) -> str:
    """The modules that a node is in."""
    return "/".join(_part(part) for part in paths.get(origin.split("\n")[0], {}).get("path", ()))


def _part(text: str) -> str:
    """A slash parts layers."""
    return text.replace("/", "_")
