"""`mlc cache`: where compiled objects are kept and how large they are; `mlc cache --clear` drops them."""

from __future__ import annotations

import argparse

from mlc.cli.command_line import Parser
from mlc.cli.console import Console


def configure(parser: Parser) -> None:
    parser.add_argument("--clear", action="store_true", help="drop all compiled objects")
    parser.epilog = "MLC_CACHE_DIR names another folder."
    parser.examples(
        "mlc cache --clear",
    )


def run(args: argparse.Namespace, console: Console) -> int:
    from mlc.codegen.llvm.cache import ObjectCache
    from mlc.ir.byte_counts import bytes_text

    cache = ObjectCache()
    entries = cache.entries()
    size = sum(entry[1] for entry in entries)
    if args.clear:
        dropped = cache.clear()
        console.result("cache", folder=str(cache.folder), dropped=dropped, bytes=size)
        console.print(f"dropped {dropped} objects, {bytes_text(size)}, from {cache.folder}")
        return 0
    console.result("cache", folder=str(cache.folder), objects=len(entries), bytes=size, limit=cache.limit)
    console.print(f"{cache.folder}\n{len(entries)} objects, {bytes_text(size)} of at most {bytes_text(cache.limit)}")
    return 0
