"""The flags that verbs share under one spelling, and the kinds of numbers in them.

flags.model(parser); flags.target(parser)
"""

from __future__ import annotations

import argparse
from typing import get_args

from mlc.backends import summaries
from mlc.cli.command_line import Parser
from mlc.options import SETTINGS, Precision


def model(parser: Parser, what: str = "MODEL") -> None:
    """The model, how much of it, and what fixes or bounds its sizes."""
    parser.add_argument(
        "model", metavar=what, help="an .onnx, .mlir or .mlc file, or file.py:function; - reads standard input"
    )
    parser.add_argument(
        "--until", metavar="NODE", help="cut an ONNX model at a node (or one value): its outputs become the model's"
    )
    parser.add_argument(
        "--load", action="append", default=[], metavar="FILE.py", help="load passes, ops and ONNX handlers of your own"
    )
    parser.add_argument(
        "--args",
        nargs="*",
        default=[],
        metavar="ARG",
        help="what a Python function is traced for: f32[2,3], f32[N,3] (N symbolic), or a number for each argument",
    )
    group = parser.add_argument_group("sizes")
    group.add_argument(
        "--shape",
        action="append",
        default=[],
        metavar="NAME:SHAPE",
        help="extents of an input: x:1x3x224x224 fixes it, x:Nx3x224x224 keeps N symbolic",
    )
    group.add_argument(
        "--dim",
        action="append",
        default=[],
        metavar="NAME=SIZE",
        help="N=8 fixes a symbolic dimension, N=1..32 bounds it, N@8 adds code for 8 alone; several with commas: N=4,T=64",
    )
    group.add_argument(
        "--known",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="the value of an input that decides shapes: k=3, shape=2,3 or shape=@shape.npy; what is compiled serves this value",
    )


def target(parser: Parser) -> None:
    """For what machine, how far, with which passes."""
    group = parser.add_argument_group("compilation")
    group.add_argument(
        "--target",
        metavar="TARGET",
        help="kind of machine, default cpu: "
        + ", ".join(f"{name} ({summary})" for name, summary in summaries().items()),
    )
    group.add_argument(
        "--arch",
        default="native",
        metavar="NAME",
        help="machine of that kind: native (default); for cpu x86-64-v2, -v3 or -v4; for cuda sm_80, sm_90a, ..., several with commas",
    )
    group.add_argument("--threads", type=positive, metavar="N", help="largest number of threads a call uses")
    for level, does in enumerate(
        (
            "only lower",
            "simplify and fuse",
            "all that keeps the arithmetic, constant factors and Winograd aside",
            "also what rounds differently",
        )
    ):
        default = " (default)" if level == 2 else ""
        group.add_argument(
            f"-O{level}", dest="opt_level", action="store_const", const=level, default=2, help=does + default
        )
    group.add_argument(
        "--passes", metavar="LIST", help="graph passes to run in place of the level's: 'simplify,fuse{max-ops=8}'"
    )
    group.add_argument("--disable-pass", action="append", default=[], metavar="NAME", help="leave a pass out")
    group.add_argument(
        "--memory-budget",
        metavar="SIZE",
        help="bytes that intermediate results may take, as 200MiB: values are computed again where more would be alive",
    )
    group.add_argument(
        "--no-check-indices",
        action="store_true",
        help="let calls take the nearest position where an input holds one that is out of range, instead of an error",
    )
    group.add_argument(
        "--precision",
        choices=get_args(Precision),
        help="to which f32 operands of products may be rounded for tensor cores (default: f32, not at all)",
    )
    group.add_argument(
        "--denormals",
        choices=("flush", "keep"),
        help="numbers below the smallest normal one count as 0 (default), or are computed with",
    )
    group.add_argument(
        "--opt",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a further choice: "
        + "; ".join(f"{name}={'|'.join(choices)} (default {choices[0]})" for name, choices in SETTINGS.items()),
    )
    group.add_argument(
        "--tune-store",
        action="append",
        default=[],
        metavar="FILE",
        help="schedules that were measured on this machine (mlc tune) in place of the rules'; several files are merged",
    )
    group.add_argument(
        "--no-cache",
        action="store_true",
        help="neither read nor write the cache of compiled objects and whole compilations",
    )


def ir(parser: Parser) -> None:
    """Looking at the IR between passes."""
    group = parser.add_argument_group("looking inside")
    every = "all"
    group.add_argument(
        "--print-ir-before", nargs="?", const=every, metavar="PASS", help="print the IR before a pass, or before each"
    )
    group.add_argument(
        "--print-ir-after", nargs="?", const=every, metavar="PASS", help="print the IR after a pass, or after each"
    )
    group.add_argument("--print-ir-on-change", action="store_true", help="print the IR after each pass that changed it")
    group.add_argument(
        "--dump-ir",
        metavar="DIR",
        help="write the IR after each pass to numbered files, and index.html with the changes",
    )
    group.add_argument("--stop-after", metavar="PASS", help="stop after a pass and write the IR there")
    group.add_argument("--verify-each", action="store_true", help="run the IR verifier after each pass")
    group.add_argument("--time-passes", action="store_true", help="print the time of each pass")


def trace(parser: argparse._ActionsContainer, what: str) -> None:
    parser.add_argument("--trace", metavar="FILE", help=f"write a Chrome trace of {what}; Perfetto opens it")


def report(parser: argparse._ActionsContainer, what: str) -> None:
    parser.add_argument("--report", metavar="FILE.html", help=f"write a page that shows {what}")


def strict(parser: Parser) -> None:
    """For verbs that call a package."""
    parser.add_argument(
        "--strict",
        action="store_true",
        help="of a package: an error where its code does not run on this machine, in place of compiling it again",
    )


def inputs(parser: Parser) -> argparse._ArgumentGroup:
    """Values of inputs; for verbs that call nothing they serve those that decide shapes."""
    group = parser.add_argument_group("inputs")
    group.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="x=@x.npy, x=random:0, x=ones, x=3.5, x=1,2,3; a .npz file; a folder of ONNX test data. Others are random",
    )
    return group


def data(parser: Parser) -> None:
    """Inputs of a run."""
    group = inputs(parser)
    group.add_argument("--seed", type=whole, default=0, help="of random inputs")


def tolerance(parser: Parser) -> None:
    group = parser.add_argument_group("comparison")
    group.add_argument(
        "--rtol",
        type=tolerated,
        metavar="R",
        help="allowed difference, relative to the largest value (by dtype; f32: 1e-4)",
    )
    group.add_argument("--atol", type=tolerated, metavar="A", help="allowed absolute difference (f32: 1e-6)")


def verify(group: argparse._ActionsContainer, what: str) -> None:
    group.add_argument(
        "--verify",
        nargs="?",
        const="any",
        choices=("any", "onnxruntime", "interpreter"),
        help=f"{what} with onnxruntime (where installed) or the interpreter",
    )


def reference(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--reference",
        metavar="MODEL",
        help="of a package: the ONNX model that it is compared with",
    )


def tolerated(text: str) -> float:
    """A number that is not negative."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"'{text}' is no tolerance: give a number of at least 0, as 1e-4")
    return value


def seconds(text: str) -> float:
    """A length of time above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is no time: give seconds, as 60")
    return value


def duration(text: str) -> float:
    """A length of time, in seconds or with a unit: 60, 60s, 2m."""
    units = {"s": 1, "m": 60, "h": 3600}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    try:
        return seconds(number) * unit
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"'{text}' is no time: give seconds or minutes, as 60s or 2m") from None


def whole(text: str) -> int:
    """A whole number of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least 0")
    return int(text)


def positive(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive number")
    return int(text)
