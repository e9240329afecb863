"""How the time of compiling grows with a graph: processor seconds of every pass and stage at several sizes, from nothing in the cache.

    python -m benchmarks.scaling                                         1,000, 5,000 and 20,000 ops
    python -m benchmarks.scaling --program training --sizes 500 1000     smaller, one program

training   a multilayer perceptron forward, backward and its update, built with mlc.ir.builder: 15 ops per layer
layers     an ONNX model of products and ReLUs; the last reads what the first made
elements   an ONNX model of one long chain of element-wise nodes
pieces     an ONNX model that joins many inputs and cuts the result into as many outputs

Every size is measured in a process of its own. Processor time leaves out what other programs had of the machine; where code is generated
it is that of the helper processes too. The last column is the exponent of growth between the two largest sizes: 1 is in proportion.
"""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper
from xdsl.ir import SSAValue

from benchmarks.run import RESULTS, machine, markdown
from mlc.codegen.llvm.build import compile_module
from mlc.compiler import Compilation, load
from mlc.ir import builder as g
from mlc.ir.collection import without_collections
from mlc.ir.module import Module
from mlc.options import CompileOptions
from mlc.passes.manager import count_ops
from mlc.passes.pipelines import pipeline
from mlc.runtime.artifact import Artifact
from mlc.runtime.executable import Executable

SIZES = (1000, 5000, 20000)
BATCH, WIDTH, RATE = 32, 64, 0.01
PER_LAYER = 15
WHOLE = ("mlc.compile", "mlc.compile, wall clock")


def training(ops: int) -> Module:
    """The step of a perceptron of that many ops, on [BATCH, WIDTH]: parameters in, parameters out. Its loss is half the squared distance."""
    layers = max(1, ops // PER_LAYER)
    square, row, batch = (WIDTH, WIDTH), (WIDTH,), (BATCH, WIDTH)
    m = g.module_builder("training")
    inputs = [("x", batch, "f32"), ("target", batch, "f32")]
    inputs += [(f"w{n}", square, "f32") for n in range(layers)] + [(f"b{n}", row, "f32") for n in range(layers)]
    with m.function(inputs=inputs) as (x, target, *parameters):
        weights, biases = parameters[:layers], parameters[layers:]
        zero, rate, row_rate = (g.full(s, v, "f32") for s, v in ((batch, 0.0), (square, RATE), (row, RATE)))
        values = [x]
        for weight, bias in zip(weights, biases, strict=True):
            values.append(g.relu(g.add(g.matmul(values[-1], weight), g.broadcast(bias, batch, [1]))))
        gradient = g.sub(values[-1], target)
        outputs: list[tuple[str, SSAValue]] = []
        for n in reversed(range(layers)):
            gradient = g.select(g.gt(values[n + 1], zero), gradient, zero)
            of_weight = g.matmul(g.transpose(values[n], [1, 0]), gradient)
            of_bias = g.reduce(gradient, [0], "sum")
            gradient = g.matmul(gradient, g.transpose(weights[n], [1, 0]))
            outputs.append((f"next.w{n}", g.sub(weights[n], g.mul(rate, of_weight))))
            outputs.append((f"next.b{n}", g.sub(biases[n], g.mul(row_rate, of_bias))))
        m.outputs(outputs)
    return m.finish()


def _value(name: str, shape: list[int] | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _model(nodes: list[onnx.NodeProto], inputs: dict[str, list[int]], outputs: list[str]) -> bytes:
    values = [_value(*item) for item in inputs.items()], [_value(name, None) for name in outputs]
    graph = helper.make_graph(nodes, "scaling", *values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    content: bytes = model.SerializeToString()
    return content


def layers(ops: int) -> bytes:
    count = max(1, ops // 2)
    nodes = []
    for n in range(count):
        nodes.append(helper.make_node("MatMul", [f"v{n}", "w"], [f"z{n}"]))
        nodes.append(helper.make_node("Relu", [f"z{n}"], [f"v{n + 1}"]))
    nodes.append(helper.make_node("Add", [f"v{count}", "v1"], ["y"]))
    return _model(nodes, {"v0": [BATCH, WIDTH], "w": [WIDTH, WIDTH]}, ["y"])


def elements(ops: int) -> bytes:
    kinds = ("Sin", "Tanh", "Relu", "Neg")
    nodes = [helper.make_node(kinds[n % 4], [f"v{n}"], [f"v{n + 1}"]) for n in range(ops)]
    return _model(nodes, {"v0": [BATCH, WIDTH]}, [f"v{ops}"])


def pieces(ops: int) -> bytes:
    inputs = {f"x{n}": [2, 3] for n in range(ops)}
    outputs = [f"y{n}" for n in range(ops)]
    nodes = [
        helper.make_node("Concat", list(inputs), ["whole"], axis=0),
        helper.make_node("Sin", ["whole"], ["read"]),
        helper.make_node("Split", ["read"], outputs, axis=0, num_outputs=ops),
    ]
    return _model(nodes, inputs, outputs)


PROGRAMS: dict[str, Callable[[int], Module | bytes]] = {
    "training": training,
    "layers": layers,
    "elements": elements,
    "pieces": pieces,
}


def processor_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def measure(program: str, size: int) -> dict[str, Any]:
    """Seconds of each stage and pass, number of graph ops, of calls and of different kernels, MiB of memory at most."""
    rows: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        start = processor_seconds()
        result = work()
        rows[name] = rows.get(name, 0.0) + processor_seconds() - start
        return result

    source = timed("build", lambda: PROGRAMS[program](size))
    compilation = Compilation(CompileOptions.of(cache=False))
    start, wall = processor_seconds(), time.perf_counter()
    made = compilation.compile(source)
    whole = {WHOLE[0]: processor_seconds() - start, WHOLE[1]: time.perf_counter() - wall}
    if not isinstance(source, Module):
        del rows["build"]
        source = timed("import", lambda: load(source))
    module, ops = source.clone(), count_ops(source)
    with without_collections():
        for step in pipeline():
            timed(step.name, lambda: step.run(module))  # noqa: B023
    code = timed("codegen", lambda: compile_module(module, compilation.target))
    weights = module.weights.get_all(code.plan.weights, 1)
    timed("link", lambda: Executable(Artifact(code.plan, code.objects, weights, compilation.target, code.entry)))
    steps = made.plan.steps
    return {
        "rows": rows | whole,
        "ops": ops,
        "calls": len(steps),
        "kernels": len({step.kernel for step in steps}),
        "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def table(answers: list[dict[str, Any]]) -> str:
    """One column per size, and the exponent of growth between the last two."""
    few = len(answers) < 2
    heads = ["processor seconds", *(f"{a['ops']} ops" for a in answers), "growth"]
    lines = []
    for name in answers[0]["rows"]:
        seconds = [a["rows"][name] for a in answers]
        clear = not few and min(seconds[-2:]) >= 0.05  # less is noise
        growth = f"{exponent(answers[-2:], seconds[-2:]):.2f}" if clear else ""
        lines.append([name, *(f"{s:.2f}" for s in seconds), growth])
    for name in ("calls", "kernels", "mib"):
        lines.append([name, *(f"{a[name]:.0f}" for a in answers), ""])
    return markdown(heads, lines)


def exponent(answers: list[dict[str, Any]], seconds: list[float]) -> float:
    return math.log(seconds[1] / seconds[0]) / math.log(answers[1]["ops"] / answers[0]["ops"])


def _ask(program: str, size: int) -> dict[str, Any]:
    """`measure` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.scaling", "--measure", program, str(size)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", nargs="+", choices=PROGRAMS, default=list(PROGRAMS))
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES, help="ops of the graphs, or pieces")
    parser.add_argument("--out", type=Path, default=RESULTS / "scaling.md", help="where to write the tables")
    parser.add_argument("--measure", nargs=2, metavar=("PROGRAM", "SIZE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure[0], int(args.measure[1]))))
        return
    parts = [f"{machine()}; load {os.getloadavg()[0]:.1f}\n"]
    for program in args.program:
        parts.append(f"## {program}\n\n{table([_ask(program, size) for size in args.sizes])}")
        print(parts[-1], flush=True)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text("\n".join(parts))


if __name__ == "__main__":
    main()
