"""Argument parsing: argparse with our exit code, suggestions for unknown names."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from typing import NoReturn

from mlc.errors import MlcError
from mlc.ir.spelling import hint


class UsageError(MlcError):
    """The command line cannot be understood."""

    @classmethod
    def unknown(cls, what: str, name: str, known: Iterable[str]) -> UsageError:
        """Says which known names are close."""
        known = list(known)
        return cls(f"unknown {what} '{name}'", remedy=f"{hint(name, known)}Known: {', '.join(known)}.")


class Parser(argparse.ArgumentParser):
    """Raises UsageError instead of leaving the process; abbreviations of flags are refused."""

    def __init__(self, verb: str, summary: str):
        super().__init__(
            prog=f"mlc {verb}",
            description=summary[0].upper() + summary[1:] + ".",
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        general = self.add_argument_group("general")
        general.add_argument("--json", action="store_true", help="print one JSON object in place of text")
        general.add_argument("-v", "--verbose", action="count", default=0, help="more detail; tracebacks of errors")
        general.add_argument("-q", "--quiet", action="count", default=0, help="no progress")

    def parse_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """An optional positional may stand behind flags; argparse itself takes it only beside the one before it."""
        found, rest = self.parse_known_args(args, namespace)
        for action in self._get_positional_actions():
            if rest and action.nargs == "?" and getattr(found, action.dest) is None and not rest[0].startswith("-"):
                setattr(found, action.dest, rest.pop(0))
        if rest:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return found

    def examples(self, *lines: str) -> None:
        """What the end of the help shows."""
        self.epilog = "\n".join(
            ["examples:", *[f"  {line}" for line in lines], *([self.epilog] if self.epilog else [])]
        )

    def set_model_optional(self) -> None:
        """For verbs that have something to say without a MODEL."""
        for action in self._actions:
            if action.dest == "model":
                action.nargs, action.required = "?", False

    def error(self, message: str) -> NoReturn:
        flags = [flag for flag in self._option_string_actions if flag.startswith("--")]
        if message.startswith("unrecognized arguments: "):
            word = message.removeprefix("unrecognized arguments: ").split()[0].split("=")[0]
            if word.startswith("--"):
                raise UsageError.unknown("flag", word, flags)
            if word.startswith("-O"):
                raise UsageError(f"there is no level {word}", remedy="Levels: -O0, -O1, -O2, -O3.")
            raise UsageError(f"unexpected argument '{word}'", remedy=f"See {self.prog} --help.")
        raise UsageError(message, remedy=f"See {self.prog} --help.")


def usage(verbs: Mapping[str, str]) -> str:
    """The text of `mlc --help`."""
    width = max(map(len, verbs))
    rows = [f"  {verb.ljust(width)}  {summary}" for verb, summary in verbs.items()]
    return "\n".join(
        [
            "usage: mlc VERB ...",
            "",
            "A compiler for machine-learning models: ONNX in, native code out.",
            "",
            *rows,
            "",
            "  mlc VERB --help   the flags of a command",
            "  mlc --version",
            "",
            "MODEL is an .onnx, .mlir or .mlc file, or file.py:function; - reads standard input. Results go to standard output, progress to standard error.",
            "Exit codes: 0 done, 1 bad usage or input, 2 unsupported operator or type, 3 numbers differ, 4 target not available,",
            "70 a bug of mlc.",
        ]
    )
