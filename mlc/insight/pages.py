"""The page beside dumped IR: the passes in order, what each took, and what it changed. One file; it loads nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from mlc.ir.files import write_text
from mlc.passes import dump

if TYPE_CHECKING:
    from mlc.passes.manager import PassRecord

LONGEST = 3000  # lines of one difference; lowering writes everything anew, and the files are there
_NUMBER = re.compile(r"%\d+")
_STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em }
summary { display: grid; grid-template-columns: 3em 16em 7em 12em 1fr; cursor: pointer; padding: .15em .3em }
details:nth-of-type(odd) > summary { background: #8881 }
summary :nth-child(3), summary :nth-child(4) { text-align: right; font-variant-numeric: tabular-nums }
summary :nth-child(5) { margin-left: 2em; opacity: .7 }
pre { font-size: 12px; overflow-x: auto; margin: .3em 0 1em }
ins { background: #2a42; text-decoration: none } del { background: #d332; text-decoration: none }
"""


def write_index(folder: Path, records: Sequence[PassRecord]) -> None:
    """DIR/index.html about the files that a PassManager dumped to DIR, 00-input.mlir and one per record."""
    names = ["input", *(record.name for record in records)]
    files = [dump.file_name(*row) for row in enumerate(names)]
    before = (folder / files[0]).read_text(encoding="utf-8").splitlines()
    rows = [_row(0, files[0], "", f"{records[0].ops_before} ops" if records else "", "what went in", "")]
    for number, (record, file) in enumerate(zip(records, files[1:], strict=True), 1):
        after = (folder / file).read_text(encoding="utf-8").splitlines()
        change = list(difference(before, after))
        added, gone = (sum(line[0] == sign for line in change) for sign in "+-")
        summary = f"+{added} -{gone} lines" if added or gone else "renumbered" if record.changed else "no change"
        ops = f"{record.ops_before} → {record.ops_after} ops"
        rows.append(_row(number, file, f"{record.seconds * 1e3:.1f} ms", ops, summary, _pre(change)))
        before = after
    total = sum(record.seconds for record in records)
    title = f"{len(records)} passes, {total * 1e3:.0f} ms"
    page = (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8">{dump.MARK}<title>{title}</title><style>{_STYLE}</style>\n'
        f"<h1>{title}</h1>\n{''.join(rows)}</html>\n"
    )
    write_text(folder / dump.INDEX, page)


def difference(before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    """Lines as in a unified diff. Numbers of values do not count: they change with every op that comes or goes."""
    old, new = ([_NUMBER.sub("%", line) for line in lines] for lines in (before, after))
    matcher = SequenceMatcher(None, old, new, autojunk=len(old) > LONGEST)  # exact, where that does not take seconds
    for number, group in enumerate(matcher.get_grouped_opcodes(2)):
        if number:
            yield " ⋮"
        for kind, start, end, first, last in group:
            if kind == "equal":
                yield from (f" {line}" for line in after[first:last])
            else:
                yield from (f"-{line}" for line in before[start:end])
                yield from (f"+{line}" for line in after[first:last])


def _row(number: int, file: str, took: str, ops: str, summary: str, content: str) -> str:
    cells = "".join(
        f"<span>{cell}</span>" for cell in (number, f'<a href="{file}">{file[3:-5]}</a>', took, ops, summary)
    )
    return f"<details><summary>{cells}</summary>{content}</details>\n"


def _pre(change: Sequence[str]) -> str:
    if not change:
        return ""
    tags = {"+": "ins", "-": "del"}
    lines = [f"<{tag}>{escape(x)}</{tag}>" if (tag := tags.get(x[0])) else escape(x) for x in change[:LONGEST]]
    if len(change) > LONGEST:
        lines.append(f"and {len(change) - LONGEST:,} lines more: see the files")
    return "<pre>" + "\n".join(lines) + "</pre>"
