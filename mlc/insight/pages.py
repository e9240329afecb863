"""The page beside dumped IR: the passes in order, what each took, and what it changed. One file; it loads nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from html import escape
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from mlc.ir.files import write_text
from mlc.passes import dump

if TYPE_CHECKING:
    from mlc.passes.manager import PassRecord

WORDS = 2000  # of one change that are compared one by one
LONGEST = 3000  # lines of one difference; lowering writes everything anew, and the files are there
_NUMBER = re.compile(r"%\d+")
_WORD = re.compile(r"[%@#^$\w.]+|\s+|.")
_TAGS = {"+": "ins", "-": "del"}
_STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em }
summary { display: grid; grid-template-columns: 3em 16em 7em 12em 1fr; cursor: pointer; padding: .15em .3em }
details:nth-of-type(odd) > summary { background: #8881 }
summary :nth-child(3), summary :nth-child(4) { text-align: right; font-variant-numeric: tabular-nums }
summary :nth-child(5) { margin-left: 2em; opacity: .7 }
pre { font-size: 12px; overflow-x: auto; margin: .3em 0 1em }
ins { background: #2a42; text-decoration: none } del { background: #d332; text-decoration: none }
ins mark { background: #2a46; color: inherit } del mark { background: #d335; color: inherit }
"""


def write_index(folder: Path, records: Sequence[PassRecord]) -> None:
    """DIR/index.html about the files that a PassManager dumped to DIR: 00-input.mlir, one per record, one for each of its stops."""
    file = dump.file_name(0, "input")
    before = (folder / file).read_text(encoding="utf-8").splitlines()
    rows = [_row(0, file, "", f"{records[0].ops_before} ops" if records else "", "what went in", "")]
    for number, record in enumerate(records, 1):
        for stop in [*record.stops, ""]:
            file = dump.file_name(number, f"{record.name}-{stop}" if stop else record.name)
            after = (folder / file).read_text(encoding="utf-8").splitlines()
            change = list(difference(before, after))
            added, gone = (sum(line[0] == sign for line in change) for sign in "+-")
            nothing = "renumbered" if record.changed else "no change"
            summary = f"+{added} -{gone} lines" if added or gone else nothing
            took = "" if stop else f"{record.seconds * 1e3:.1f} ms"
            ops = "" if stop else f"{record.ops_before} → {record.ops_after} ops"
            rows.append(_row(number, file, took, ops, summary, _pre(change)))
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
    lines = _marked(change[:LONGEST])
    if len(change) > LONGEST:
        lines.append(f"and {len(change) - LONGEST:,} lines more: see the files")
    return "<pre>" + "\n".join(lines) + "</pre>"


def _marked(change: Sequence[str]) -> list[str]:
    """The lines as HTML. Where lines took the place of others, the words that are not in those are marked."""
    found: list[str] = []
    place = 0
    while place < len(change):
        old = list(takewhile(lambda line: line[0] == "-", change[place:]))
        new = list(takewhile(lambda line: line[0] == "+", change[place + len(old) :]))
        if not old and not new:
            found.append(escape(change[place]))
            place += 1
            continue
        found += [
            f"<{_TAGS[line[0]]}>{text}</{_TAGS[line[0]]}>"
            for line, text in zip([*old, *new], _words(old, new), strict=True)
        ]
        place += len(old) + len(new)
    return found


def _words(old: Sequence[str], new: Sequence[str]) -> list[str]:
    """Both as HTML, with marks."""
    before, after = ([word for line in lines for word in (*_WORD.findall(line[1:]), "\n")] for lines in (old, new))
    if not old or not new or max(len(before), len(after)) > WORDS:
        return [escape(line) for line in (*old, *new)]
    numberless = [[_NUMBER.sub("%", word) for word in words] for words in (before, after)]
    matcher = SequenceMatcher(None, numberless[0], numberless[1], autojunk=False)
    apart: tuple[set[int], set[int]] = (set(), set())
    for kind, start, end, first, last in matcher.get_opcodes():
        if kind != "equal":
            apart[0].update(range(start, end))
            apart[1].update(range(first, last))
    return [*_lines("-", before, apart[0]), *_lines("+", after, apart[1])]


def _lines(sign: str, words: Sequence[str], apart: set[int]) -> Iterator[str]:
    """Lines of words, those `apart` marked, unless that is all of a line."""
    start = 0
    for end, word in enumerate(words):
        if word == "\n":
            here = [number for number in range(start, end) if not words[number].isspace()]
            all_apart = all(number in apart for number in here)
            shown = [
                f"<mark>{escape(words[n])}</mark>" if n in apart and not all_apart else escape(words[n])
                for n in range(start, end)
            ]
            yield sign + "".join(shown)
            start = end + 1
