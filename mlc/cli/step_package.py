"""`mlc compile MODEL --train LOSS`: a step of training as a package, and the state that it begins with; or as a library with both."""

from __future__ import annotations

import argparse
import ast
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlc.cli.command_line import UsageError
from mlc.cli.console import Console
from mlc.cli.source import Model, options
from mlc.errors import MlcError

if TYPE_CHECKING:
    from mlc.frontends.trace.traced import TensorSpec
    from mlc.ir.module import Module
    from mlc.optim import Optimizer


def write_step(out: Path, args: argparse.Namespace, source: Model, console: Console) -> list[Path]:
    """The files written. Raises MlcError for a loss, an optimiser or weights that do not exist."""
    from mlc.cli.reporting import reporting
    from mlc.compiler import load
    from mlc.progress import stage
    from mlc.training.models import objective_of
    from mlc.training.step import TrainStep

    if not source.is_onnx:
        raise UsageError(
            "--train takes an ONNX model", remedy="In Python, mlc.train_step trains functions and modules."
        )
    given = options(args)
    module = load(source.source, given.shapes, given.dims, given.known, given.until, trainable=True)
    objective = objective_of(module, args.train, None, args.freeze or "", args.train_statistics)
    rest = replace(given, shapes={}, dims={}, known={}, until=None)
    step = TrainStep(objective, optimizer(args.optimizer), args.seed or 0, {}, rest)
    with reporting(args, source) as recorder, stage("write", console.progress) as done:
        step.export(out, *batch_of(module, args.train), header=args.header, report=recorder)
        done.text = f"a step of training: {sum(p.size for p in step.parameters.values())} parameters"
    report = [Path(args.report)] if args.report else []
    if out.suffix != ".so":
        return [out, out.with_suffix(".safetensors"), *report]
    return [out, *([Path(args.header)] if args.header else []), *report]


def batch_of(module: Module, loss: str) -> list[TensorSpec]:
    """What a batch is: the inputs of the model, and targets of the shape of its first output; numbers of classes in place of its last axis, where
    the loss is of classes."""
    from mlc.frontends.trace.traced import TensorSpec

    shape, dtype = module.output_types[0]
    classes = loss.removesuffix("_loss") in ("cross_entropy", "nll")
    target = TensorSpec(shape[:-1], "i64") if classes else TensorSpec(shape, dtype)
    return [*(TensorSpec(*each) for each in module.input_types), target]


def optimizer(text: str) -> Optimizer:
    """adam:lr=1e-3,betas=(0.9,0.99) is Adam(lr=1e-3, betas=(0.9, 0.99)). Raises UsageError."""
    from mlc import optim
    from mlc.optim.wrappers import Groups, Wrapper

    kinds = {
        name.lower(): kind
        for name, kind in vars(optim).items()
        if isinstance(kind, type) and issubclass(kind, optim.Optimizer) and not issubclass(kind, Wrapper | Groups)
    }
    del kinds["optimizer"]
    name, _, rest = text.partition(":")
    if name.lower() not in kinds:
        raise UsageError.unknown("optimizer", name, sorted(kinds))
    try:
        call: Any = ast.parse(f"f({rest})", mode="eval").body
        given = {word.arg: _literal(word) for word in call.keywords}
        if call.args:
            raise ValueError("an option has no name")
        return kinds[name.lower()](**given)
    except (SyntaxError, ValueError, TypeError) as error:
        raise UsageError(
            f"--optimizer {text}: {error}", remedy="Write NAME:option=value,..., as adam:lr=1e-3."
        ) from error
    except MlcError as error:
        raise UsageError(f"--optimizer {text}: {error.message}", remedy=error.remedy) from error


def _literal(option: ast.keyword) -> Any:
    try:
        return ast.literal_eval(option.value)
    except ValueError:
        raise ValueError(f"{option.arg} is {ast.unparse(option.value)}, which is no number") from None
