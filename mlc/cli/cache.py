"""`mlc cache`: where compiled objects and whole compilations are kept and how large they are; `mlc cache --clear` drops them."""

from __future__ import annotations

import argparse

from mlc.cli.command_line import Parser
from mlc.cli.console import Console


def configure(parser: Parser) -> None:
    parser.add_argument("--clear", action="store_true", help="drop all of it")
    parser.epilog = "MLC_CACHE_DIR names another folder."
    parser.examples(
        "mlc cache --clear",
    )


def run(args: argparse.Namespace, console: Console) -> int:
    from mlc.codegen.llvm.cache import ObjectCache
    from mlc.compilation_cache import stored
    from mlc.ir.byte_counts import bytes_text

    kinds = {"objects": ObjectCache(), "compilations": stored()}
    entries = {kind: cache.entries() for kind, cache in kinds.items()}
    sizes = {kind: sum(entry[1] for entry in found) for kind, found in entries.items()}
    folder = kinds["objects"].folder.parent
    if args.clear:
        dropped = {kind: cache.clear() for kind, cache in kinds.items()}
        console.result("cache", folder=str(folder), dropped=dropped, bytes=sizes)
        for kind, count in dropped.items():
            console.print(f"dropped {count} {kind}, {bytes_text(sizes[kind])}, from {kinds[kind].folder}")
        return 0
    counts = {kind: len(found) for kind, found in entries.items()}
    console.result("cache", folder=str(folder), **counts, bytes=sizes, limit=kinds["objects"].limit)
    console.print(str(folder))
    for kind, count in counts.items():
        console.print(f"{count} {kind}, {bytes_text(sizes[kind])} of at most {bytes_text(kinds[kind].limit)}")
    return 0
