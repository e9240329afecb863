"""Counts over the results of a run, as data and as Markdown."""

import collections
from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args

from benchmarks.conformance.isolation import Status
from benchmarks.conformance.suite import GROUPS

STATUSES: tuple[str, ...] = get_args(Status)

Row = Mapping[str, Any]  # a case's result with its group, domain and op


def totals(rows: Mapping[str, Row]) -> dict[str, Any]:
    """Counts of each status in all, by group, by domain and by the op under test."""
    by_op = _by(lambda row: row["op"], [row for row in rows.values() if row["group"] == "node"])
    kinds = collections.Counter(f"{row['status']}: {row['kind']}" for row in rows.values() if row["status"] != "passed")
    return {
        "totals": _count(row["status"] for row in rows.values()),
        "by_group": _by(lambda row: row["group"], rows.values()),
        "by_domain": _by(lambda row: row["domain"], rows.values()),
        "by_op": by_op,
        "kinds": dict(kinds.most_common()),
    }


def table(documents: list[Mapping[str, Any]]) -> str:
    """One column per run: cases passed of those tried, by group, then what became of the others."""
    heads = [doc["meta"]["backend"] + (" (baked)" if doc["meta"]["baked"] else "") for doc in documents]
    lines = [["cases", *heads], ["---"] * (len(heads) + 1)]
    for group in GROUPS:
        lines.append([group, *(_share(doc["by_group"].get(group)) for doc in documents)])
    lines.append(["all", *(_share(doc["totals"]) for doc in documents)])
    for status in STATUSES[1:]:
        lines.append([status, *(str(doc["totals"][status]) for doc in documents)])
    lines.append(["ops, all cases passed", *(_ops(doc["by_op"], all_cases=True) for doc in documents)])
    lines.append(["ops, some case passed", *(_ops(doc["by_op"], all_cases=False) for doc in documents)])
    lines.append(["seconds", *(f"{doc['meta']['seconds']:.0f}" for doc in documents)])
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _count(statuses: Iterable[str]) -> dict[str, int]:
    counts = collections.Counter(statuses)
    return {**{status: counts[status] for status in STATUSES}, "total": counts.total()}


def _by(key: Callable[[Row], str], rows: Iterable[Row]) -> dict[str, dict[str, int]]:
    found: dict[str, list[str]] = collections.defaultdict(list)
    for row in rows:
        found[key(row)].append(row["status"])
    return {name: _count(statuses) for name, statuses in sorted(found.items())}


def _share(counts: Mapping[str, int] | None) -> str:
    return f"{counts['passed']} of {counts['total']}" if counts else "-"


def _ops(by_op: Mapping[str, Mapping[str, int]], all_cases: bool) -> str:
    passed = sum(c["passed"] == c["total"] if all_cases else c["passed"] > 0 for c in by_op.values())
    return f"{passed} of {len(by_op)}"
