"""A graph for Graphviz: `dot -Tsvg graph.dot`. Modules and kernels are clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlc.ir.module import Module


def dot(module: Module) -> str:
    """@main as a digraph; constants are left out."""
    from mlc.insight.view.recorder import nodes_of
    from mlc.insight.view.records import Graphs

    rows, _ = Graphs().add(module)
    rows = [row for row in rows if row[1] not in ("weight", "constant", "kernel.weight")]
    known = {row[0] for row in rows}
    paths = nodes_of(module)
    tree: dict[tuple[str, ...], list[str]] = {}
    groups: dict[int, list[str]] = {}
    holders = {row[6] for row in rows}
    lines = ["digraph model {", "  rankdir = TB; node [shape = box, style = rounded, fontname = sans]; compound = true"]
    for number, kind, nodes, type, _, reads, parent, *_ in rows:
        if number in holders:
            continue
        label = "\\n".join(_quoted(text) for text in (kind, type, nodes.split("\n")[0]) if text)
        text = f'n{number} [label = "{label}"]'
        if parent in known:
            groups.setdefault(parent, []).append(text)
        else:
            tree.setdefault(tuple(paths.get(nodes.split("\n")[0], {}).get("path", ())), []).append(text)
        lines += [f"  n{source} -> n{number}" for source in reads if source in known and source not in holders]
    for number, inner in groups.items():
        lines += [f"  subgraph cluster_g{number} {{ style = dashed", *(f"    {text}" for text in inner), "  }"]
    for count, (path, inner) in enumerate(tree.items()):
        label = _quoted(" / ".join(path))
        lines += [f'  subgraph cluster_m{count} {{ label = "{label}"' if path else "  {"]
        lines += [*(f"    {text}" for text in inner), "  }"]
    return "\n".join([*lines, "}", ""])


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
