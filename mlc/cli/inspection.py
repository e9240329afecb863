"""The flags that look at the IR between passes, as the compiler takes them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlc.compiler import Inspection
    from mlc.insight.view.recorder import Recorder
    from mlc.passes.manager import Selection


def inspection(args: argparse.Namespace, report: Recorder | None = None) -> Inspection:
    """`--print-ir-after` without a name means every pass."""
    from mlc.compiler import Inspection

    return Inspection(
        print_before=_selection(args.print_ir_before),
        print_after=_selection(args.print_ir_after),
        print_on_change=args.print_ir_on_change,
        dump=Path(args.dump_ir) if args.dump_ir else None,
        stop_after=args.stop_after,
        time=args.time_passes,
        trace=bool(getattr(args, "trace", None)),
        report=report,
    )


def looks(args: argparse.Namespace) -> bool:
    """Whether flags ask for something of the way through the passes."""
    shown = (args.print_ir_before, args.print_ir_after, args.print_ir_on_change, args.dump_ir)
    return any(
        (
            *shown,
            args.stop_after,
            args.verify_each,
            args.time_passes,
            getattr(args, "trace", None),
            getattr(args, "report", None),
        )
    )


def _selection(text: str | None) -> Selection:
    return () if text is None else "all" if text == "all" else tuple(text.split(","))
