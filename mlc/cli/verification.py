"""`--verify`: run what was compiled on given or random inputs and compare with another engine; where sizes are symbolic at two of them,
and at those that have code of their own."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import numpy as np

from mlc.cli import data, sizes
from mlc.cli.console import Console
from mlc.cli.session import Session

if TYPE_CHECKING:
    from mlc.references import Run

_PREFERRED = (None, 1)  # small distinct sizes, then ones


def verify(args: argparse.Namespace, session: Session, console: Console, program: Run | None = None) -> dict[str, Any]:
    """Run what was compiled, or a program in its place. Raises NumericMismatch for the first binding that differs; returns what was compared."""
    from mlc import references
    from mlc.ir.interpreter import bind
    from mlc.numeric import compare_outputs, largest, require_agreement
    from mlc.progress import stage

    module = session.module
    reference = args.verify
    if reference == "any":
        usable = references.has_onnxruntime() and (session.reference or session).is_onnx
        reference = "onnxruntime" if usable else "interpreter"
    run = session.run_reference(reference, until=args.until)
    given = session.given(args)
    fixed, stated = sizes.fixed(args.dim), bool(args.dim or args.shape)
    bindings, worst = [], 0.0
    with stage("verify", console.progress) as step:
        for usual, preferred in [({}, size) for size in _PREFERRED] + [(v, None) for v in sizes.variants(args.dim)]:
            feeds = data.feeds(module, given, fixed, args.seed, preferred, usual, stated)
            binding = bind(module, list(feeds.values()))
            if binding in bindings:
                continue
            bindings.append(binding)
            if program is None:
                found = session.executable.run(None, session.executable.unshared(feeds))
            else:
                found = program({name: np.array(x) for name, x in feeds.items()})
            differences = compare_outputs(session.output_names, found, run(feeds), args.rtol, args.atol)
            worst = max(worst, largest(differences))
            at = ", ".join(f"{symbol}={size}" for symbol, size in binding.items())
            require_agreement(
                differences,
                reference + (f" at {at}" if at else ""),
                remedy=f"mlc compare {session.source.name} finds the stage; --rtol allows more.",
            )
        shown = " and ".join(", ".join(f"{s}={n}" for s, n in b.items()) for b in bindings if b)
        step.text = f"{reference}{', ' + shown if shown else ''}, seed {args.seed}: max rel err {worst:.1e}, ok"
    return {"reference": reference, "bindings": bindings, "error": worst}
