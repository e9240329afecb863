"""The command line: `mlc VERB ...`. One file per verb, with `configure(parser)` and `run(args, console)`; only the one asked for is imported.

Exit codes: 0 done, 1 bad usage or bad input, 2 unsupported operator or type, 3 numbers differ, 4 target not available, 70 a bug of mlc.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

VERBS = {
    "compile": "compile a model to a package, or to one of the stages before it",
    "run": "run a model once on given or random inputs",
    "check": "what a model holds and what cannot be compiled, without compiling it",
    "tune": "search for faster schedules by measuring, into a file that compile takes",
    "bench": "time a model, also against other engines",
    "compare": "run every stage, or two packages, on the same inputs; name the first that differs",
    "reduce": "shrink a model to the smallest that a command still fails on",
    "explain": "what was decided for each kernel, and why",
    "view": "write a page that shows what the compiler did: passes, kernels, memory, time",
    "trace": "print the graph of a Python function",
    "dist": "predict how training on several processes scales",
    "opt": "run chosen passes on IR text",
    "demo": "compile, verify and time the bundled model",
    "doctor": "what this installation can do, and how to get the rest",
    "cache": "where compiled objects and whole compilations are kept; clear them",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    from mlc.cli.command_line import Parser, UsageError, usage
    from mlc.cli.report import failed

    words = list(sys.argv[1:] if argv is None else argv)
    if not words:
        print(_greeting())
        return 0
    if words[0] in ("-h", "--help", "help"):
        print(usage(VERBS))
        return 0
    if words[0] == "--version":
        import mlc

        print(f"mlc {mlc.__version__}")
        return 0
    try:
        if words[0] not in VERBS:
            raise UsageError.unknown("command", words[0], VERBS)
        verb = import_module(f"mlc.cli.{words[0]}")
        parser = Parser(words[0], VERBS[words[0]])
        verb.configure(parser)
        args = parser.parse_args(words[1:])
    except UsageError as error:
        return failed(error, words)
    except SystemExit as stop:  # argparse has printed --help
        return int(stop.code or 0)
    return _run(verb.run, args, words)


def _run(run: object, args: object, words: list[str]) -> int:
    import os

    from mlc.cli.console import Console
    from mlc.cli.report import failed

    assert callable(run)
    console = Console(json=args.json, verbosity=args.verbose - args.quiet)  # type: ignore[attr-defined]
    try:
        if extensions := getattr(args, "load", None):
            from mlc.extensions import load_extension

            for path in extensions:
                load_extension(path)
        try:
            code = run(args, console)
        finally:
            console.stop()
        sys.stdout.flush()
        return int(code or 0)
    except BrokenPipeError:  # the reader of our output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:  # noqa: BLE001  the last resort: whatever it is, the user gets a message and a report
        return failed(error, words, json=console.json, traceback=console.verbosity > 0)


def _greeting() -> str:
    import os

    import mlc

    lines = [
        f"mlc {mlc.__version__}, a compiler for machine-learning models: ONNX in, native code out",
        f"target cpu: this machine ({os.uname().machine}), {len(os.sched_getaffinity(0))} processors",
        "",
        "try   mlc demo                   compile, verify and time the bundled model",
        "      mlc check model.onnx       what is in a model, and whether it compiles",
        "      mlc compile model.onnx     write model.mlc",
        "",
        "mlc --help lists all commands, mlc doctor says what works here.",
    ]
    return "\n".join(lines)
