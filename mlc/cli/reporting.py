"""The page that `--report` and `mlc view` write: begun before anything is compiled, so that what a failure leaves can be looked at."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mlc.cli.source import Model

if TYPE_CHECKING:
    import numpy as np

    from mlc.cli.session import Session
    from mlc.insight.view.recorder import Recorder


@contextmanager
def reporting(args: argparse.Namespace, source: Model) -> Iterator[Recorder | None]:
    """The recorder of the page that --report names, if it does. An error is written into it and raised again."""
    if args.report is None:
        yield None
        return
    from mlc.insight.view.recorder import Recorder, page

    name = source.path.name if source.path else source.name
    recorder = Recorder(page(args.report, name), name)
    with failing(recorder, source, args):
        yield recorder


@contextmanager
def failing(recorder: Recorder, source: Model, args: argparse.Namespace) -> Iterator[None]:
    """Errors inside are written into the page, beside the graph as it came."""
    try:
        yield
    except Exception as error:
        if not recorder.has_graph and source.is_onnx:
            from mlc.insight.view.as_it_came import onnx_graph

            recorder.as_it_came(onnx_graph(source.source, getattr(args, "until", None)))
        recorder.failed(error)
        raise


def add_run(recorder: Recorder, session: Session, feeds: Mapping[str, np.ndarray], seconds: float) -> None:
    """Memory and times of calls with these inputs."""
    from mlc.ir.interpreter import bind

    sizes = bind(session.module, list(feeds.values()))
    add_memory(recorder, session, sizes)
    recorder.times(session.executable, feeds, seconds)


def add_memory(recorder: Recorder, session: Session, sizes: Mapping[str, int] | None = None) -> None:
    """The plan of memory at these sizes, or at small ones."""
    from mlc.ir.sample_sizes import sample_binding

    executable = session.executable
    found = dict(sizes if sizes is not None else sample_binding(session.module, preferred=1))
    recorder.memory(executable, found, executable.report.get("memory"))
