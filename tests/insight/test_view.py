"""The page that shows what the compiler did: it loads nothing, and what it says is what is."""

import base64
import gzip
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlc
from mlc.cli import main
from mlc.compiler import Compilation, Inspection
from mlc.errors import InternalError
from mlc.insight.view import page as pages
from mlc.insight.view.recorder import Recorder
from mlc.insight.view.records import Graphs
from mlc.ir import builder as g
from mlc.options import CompileOptions
from mlc.passes.manager import PassManager

DIGITS = Path(mlc.__file__).parent / "demo/digits.onnx"
PART = re.compile(
    r'<script type="application/octet-stream" data-part="(\w+)" data-side="(\d)"(?: data-name="([^"]*)")?>([^<]*)<'
)


def parts(path: Path) -> Iterator[tuple[str, int, str, Any]]:
    for kind, side, name, packed in PART.findall(path.read_text(encoding="utf-8")):
        yield kind, int(side), name, json.loads(gzip.decompress(base64.b64decode(packed)))


def content(path: Path, kind: str, side: int = 0) -> Any:
    return next(found for part, at, _, found in parts(path) if (part, at) == (kind, side))


def texts(path: Path) -> dict[str, Any]:
    return {name: found for kind, _, name, found in parts(path) if kind == "text"}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("view") / "view.html"
    assert main(["view", str(DIGITS), "-o", str(path), "--seconds", "0.2", "--threads", "1", "-q"]) == 0
    return path


def test_a_page_loads_nothing_and_forbids_itself_to(digits: Path) -> None:
    text = digits.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert not re.findall(r"(?:src|href)\s*=\s*[\"']|@import|url\(|fetch\(|XMLHttpRequest|import\(", text)
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "") and "https://" not in text


def test_every_pass_is_there_and_an_op_that_it_left_alone_is_the_same_record(digits: Path) -> None:
    passes = [found for kind, _, _, found in parts(digits) if kind == "pass"]
    names = [found["name"] for found in passes]
    assert names[0] == "input" and {"fuse", "outline", "lower", "plan-arena"} <= set(names)
    known = 0
    for found in passes:
        numbers = np.cumsum(found["nodes"])
        known += len(found["records"])
        assert numbers.min() >= 0 and numbers.max() < known and len(set(numbers)) == len(numbers)
    cse = passes[names.index("dce")]
    assert cse["records"] == []  # there was nothing to remove, so that it brings nothing new


def test_shares_of_nodes_add_up_to_the_time_of_their_kernels(digits: Path) -> None:
    steps, times = content(digits, "kernels")["steps"], content(digits, "times")
    assert len(steps) == len(times["ns"])
    assert all(abs(sum(step["weights"]) - 1) < 1e-4 for step in steps if step["source"])
    assert sum(times["ns"]) > 0 and times["machine"]["gflops"] > 0 < times["machine"]["gbs"]
    convolution = next(step for step in steps if step["kernel"].startswith("convolution") and len(step["source"]) > 1)
    share = dict(zip(convolution["source"], convolution["weights"], strict=True))
    assert max(share, key=share.__getitem__).endswith("Conv")


def test_lines_of_assembly_loops_and_structured_ops_belong_together(digits: Path) -> None:
    kernels = texts(digits)
    assert kernels.keys() == {kernel["name"] for kernel in content(digits, "kernels")["kernels"]}
    linked = total = 0
    for kernel in kernels.values():
        loops, code, links = kernel["loops"].split("\n"), kernel["code"].split("\n"), kernel["links"]
        assert len(links["loops"]) == len(loops) and len(links["code"]) == len(code)
        ops = [n for n, line in enumerate(loops) if "=" in line]
        assert sum(links["loops"][n] >= 0 for n in ops) >= 0.95 * len(ops)
        fmas = [n for n, line in enumerate(code) if "@llvm.fma" in line and not line.startswith("declare")]
        assert all(re.search(r"vector\.fma|math\.|arith\.|scf\.", loops[links["code"][n]]) for n in fmas)
        structured = kernel["structured"].split("\n")
        below = {links["loops"][n] for n, line in enumerate(loops) if "vector.fma" in line}
        assert all("linalg.generic" in structured[n] for n in below if n >= 0)
        total += len(links["assembly"])
        linked += sum(n >= 0 for n in links["assembly"])
        for line, n in zip(kernel["assembly"].split("\n"), links["assembly"], strict=True):
            assert "vfmadd" not in line or "fma" in code[n] or "fmul" in code[n] or "fadd" in code[n]
    assert linked >= 0.75 * total  # of vector kernels more; functions of a few lines are mostly their frame


def test_buffers_lie_apart_while_they_are_alive_and_are_read_after_they_are_made(digits: Path) -> None:
    memory, steps = content(digits, "memory"), content(digits, "kernels")["steps"]
    buffers = memory["buffers"]
    for n, one in enumerate(buffers):
        assert one["makers"] and one["readers"] and min(one["makers"]) < max(one["readers"])
        assert one["first"] <= steps[one["makers"][0]]["at"] <= steps[one["readers"][-1]]["at"] <= one["last"]
        for other in buffers[:n]:
            together = one["first"] <= other["last"] and other["first"] <= one["last"]
            apart = one["offset"] + one["bytes"] <= other["offset"] or other["offset"] + other["bytes"] <= one["offset"]
            assert apart or not together
    at = steps[memory["step"]]["at"]
    assert sum(b["bytes"] for b in buffers if b["first"] <= at <= b["last"]) == memory["peak"]


def test_a_page_of_two_compilations_holds_both(tmp_path: Path) -> None:
    package, path = tmp_path / "digits.mlc", tmp_path / "two.html"
    assert main(["compile", str(DIGITS), "-o", str(package), "-O1", "-q"]) == 0
    assert main(["view", str(DIGITS), str(package), "-o", str(path), "--no-run", "--no-assembly", "-q"]) == 0
    one, two = ([f["name"] for k, s, _, f in parts(path) if (k, s) == ("pass", side)] for side in (0, 1))
    assert one[0] == two[0] == "input" and "decompose" in one and "decompose" not in two and "lower" in two
    assert "assembly" not in texts(path)["contraction_0"]


def test_a_dump_becomes_a_page_in_which_ops_are_known_again(tmp_path: Path) -> None:
    folder, path = tmp_path / "ir", tmp_path / "dump.html"
    passes = "fold-batch-norm,decompose,simplify,dce,expand-padding,fuse,outline,schedule"
    out = str(tmp_path / "out.mlir")
    assert main(["opt", str(DIGITS), "--passes", passes, "--dump-ir", str(folder), "-o", out, "-q"]) == 0
    assert main(["view", str(folder), "-o", str(path), "-q"]) == 0
    passes = [found for kind, _, _, found in parts(path) if kind == "pass"]
    assert [p["name"] for p in passes][:3] == ["input", "fold-batch-norm", "decompose"]
    dce = next(p for p in passes if p["name"] == "dce")
    assert len(dce["records"]) < 0.5 * len(passes[0]["records"])
    assert content(path, "kernels")["kernels"][0]["schedule"]
    assert main(["view", str(tmp_path), "-o", str(path), "-q"]) == 1  # no dump


def test_a_pass_that_fails_leaves_a_page_of_those_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlc.passes.graph.fuse import Fuse

    def broken(self: Fuse, module: object) -> None:
        raise ValueError("the pass is broken")

    monkeypatch.setattr(Fuse, "run", broken)
    path = tmp_path / "view.html"
    recorder = Recorder(pages.PageFile(path, "digits"), "digits")
    compilation = Compilation(CompileOptions(), inspection=Inspection(report=recorder))
    with pytest.raises(InternalError, match="the pass is broken"):
        compilation.compile(DIGITS)
    names = [found["name"] for kind, _, _, found in parts(path) if kind == "pass"]
    assert names[-1] == "dce" and "fuse" not in names


def test_what_cannot_be_compiled_is_in_the_graph_with_its_reason(tmp_path: Path) -> None:
    model, path = tmp_path / "foreign.onnxtxt", tmp_path / "check.html"
    model.write_text(
        '<ir_version: 9, opset_import: ["" : 17, "com.acme" : 1]>\n'
        "foreign (float[4] x) => (float[4] y) { [a] r = Relu(x)\n [b] s = com.acme.Fancy(r)\n [c] y = Relu(s) }\n"
    )
    assert main(["check", str(model), "--report", str(path), "-q"]) == 2
    assert "com.acme" in content(path, "unsupported")["b"] and "failure" in {kind for kind, *_ in parts(path)}
    assert [record[1] for record in content(path, "pass")["records"]] == ["input", "Relu", "Fancy", "Relu", "output"]


def test_errors_of_a_comparison_lie_over_the_graph(tmp_path: Path) -> None:
    path = tmp_path / "compare.html"
    assert main(["compare", str(DIGITS), "--report", str(path), "-q"]) == 0
    overlay = content(path, "overlay")
    assert overlay["name"] == "error" and len(overlay["of"]) > 5 and all(0 <= e < 1e-4 for e in overlay["of"].values())


def test_a_step_of_training_tells_forward_backward_and_update_apart(tmp_path: Path) -> None:
    path, out = tmp_path / "step.html", tmp_path / "step.mlc"
    options = ["--train", "cross_entropy", "--optimizer", "sgd:lr=0.1", "--report", str(path)]
    assert main(["compile", str(DIGITS), "-o", str(out), *options, "-q"]) == 0
    records = [record for kind, _, _, found in parts(path) if kind == "pass" for record in found["records"]]
    roles = {record[8] for record in records}
    assert roles == {"", "backward", "update"}
    products = {role: {r[2] for r in records if r[1] == "convolution" and r[8] == role} for role in roles}
    assert products[""] and products["backward"] <= products[""]  # each gradient has the node of its forward op


def test_a_report_of_a_compilation_has_kernels_without_assembly(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    assert main(["compile", str(DIGITS), "-o", str(tmp_path / "m.mlc"), "--report", str(path), "-q"]) == 0
    assert all("assembly" not in text and text["code"] for text in texts(path).values())
    assert content(path, "memory")["arena"] > 0 and "times" not in {kind for kind, *_ in parts(path)}


def test_a_page_replaces_only_pages(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "mine.html"
    path.write_text("<p>my own</p>")
    assert main(["view", str(DIGITS), "-o", str(path), "--no-run", "-q"]) == 1
    assert "did not write" in capsys.readouterr().err and path.read_text() == "<p>my own</p>"


def test_modules_and_lines_of_python_come_from_what_the_exporter_wrote() -> None:
    import onnx
    from onnx import helper

    node = helper.make_node("Relu", ["x"], ["y"], name="node_relu")
    trace = 'File "/home/me/net.py", line 12, in forward\n    return relu(x)\nFile "/usr/site-packages/torch/f.py", line 3, in relu\n'
    for key, value in {
        "pkg.torch.onnx.name_scopes": "['', 'layers.0', 'layers.0.act', 'relu']",
        "pkg.torch.onnx.stack_trace": trace,
    }.items():
        node.metadata_props.append(onnx.StringStringEntryProto(key=key, value=value))
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [4]) for name in "xy"]
    graph = helper.make_graph([node], "g", values[:1], values[1:])
    module = mlc.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    origin = module.nodes["node_relu"]
    assert origin.path == ("layers.0", "act") and origin.line == "/home/me/net.py:12"
    again = type(module).parse(module.text(locations=True))
    assert again.nodes == module.nodes and "graph.nodes" not in str(module)


@pytest.mark.parametrize("text", ["[", "['a', 3]", "__import__('os')", "[" * 1000, "{'a': 1}", ""])
def test_scopes_that_are_no_list_of_names_are_left_out(text: str) -> None:
    import onnx

    from mlc.frontends.onnx.origins import origin_of

    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    node.metadata_props.append(onnx.StringStringEntryProto(key="pkg.torch.onnx.name_scopes", value=text))
    assert origin_of(node) is None


def test_a_changed_op_is_the_same_op_with_another_record() -> None:
    m = g.module_builder("main")
    with m.function(inputs=[("x", (2, 3), "f32")]) as (x,):
        m.outputs([("y", g.relu(g.transpose(g.transpose(x, [1, 0]), [1, 0])))])
    graphs, seen = Graphs(), []
    manager = PassManager("simplify,dce")
    manager.started = lambda module: seen.append(graphs.add(module))
    manager.callback = lambda _, __, module: seen.append(graphs.add(module))
    manager.run(m.finish())
    before = {row[0]: row for row in seen[0][0]}
    rewired = [row for row in seen[1][0] if row[0] in before]
    assert [row[1] for row in rewired] == ["relu"] and rewired[0][5] != before[rewired[0][0]][5]


def test_dot_and_onnx_are_written_for_other_tools(tmp_path: Path) -> None:
    import onnx

    dot, model = tmp_path / "graph.dot", tmp_path / "graph.onnx"
    assert main(["view", str(DIGITS), "-o", str(dot), "--after", "fuse", "-q"]) == 0
    text = dot.read_text()
    assert text.count("{") == text.count("}") and "convolution" in text and "cluster_g" in text
    assert main(["view", str(DIGITS), "-o", str(model), "--after", "fold-batch-norm", "-q"]) == 0
    onnx.checker.check_model(onnx.load(model))


def test_a_graph_for_model_explorer_has_the_form_that_its_loader_takes(tmp_path: Path) -> None:
    """{label, graphs: [{id, nodes}]}: version 0.1.34 was seen to load it."""
    path = tmp_path / "graph.json"
    assert main(["view", str(DIGITS), "-o", str(path), "--after", "fuse", "-q"]) == 0
    found = json.loads(path.read_text())
    assert found["label"] == "digits.onnx" and [graph["id"] for graph in found["graphs"]] == ["fuse"]
    nodes = {node["id"]: node for node in found["graphs"][0]["nodes"]}
    kinds = [node["label"] for node in nodes.values()]
    assert len(nodes) == len(kinds) and {"input", "convolution", "relu", "reduce", "output"} <= set(kinds)
    assert "group" not in kinds and "weight" not in kinds
    order = list(nodes)
    for node in nodes.values():
        sources = [edge["sourceNodeId"] for edge in node["incomingEdges"]]
        assert all(order.index(source) < order.index(node["id"]) for source in sources), node
        assert sources or node["label"] in ("input", "broadcast")  # of constants, which are left out
    convolution = next(node for node in nodes.values() if node["label"] == "convolution")
    assert re.fullmatch(r"features/features\.0/convolution \d+", convolution["namespace"])
    assert {"key": "node", "value": "/features/features.0/Conv"} in convolution["attrs"]


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node to read JavaScript")
def test_scripts_are_javascript(tmp_path: Path, run: Callable = subprocess.run) -> None:
    script = pages.head("x").split("<script>\n")[1].split("</script>")[0]
    (tmp_path / "all.js").write_text(script)
    run(["node", "--check", tmp_path / "all.js"], check=True)


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node to run JavaScript")
def test_a_layout_puts_what_reads_below_what_it_reads_and_nothing_on_top_of_anything(tmp_path: Path) -> None:
    source = Path(pages.__file__).with_name("layout.js").read_text()
    random = np.random.default_rng(0)
    for count in (0, 1, 2, 7, 60):
        edges = [[int(random.integers(0, b)), b] for b in range(1, count) for _ in range(int(random.integers(0, 3)))]
        nodes = [{"w": int(random.integers(20, 90)), "h": 20} for _ in range(count)]
        program = f"{source}; const f = layered({json.dumps(nodes)}, {json.dumps(edges)}); console.log(JSON.stringify(f.at.map((p) => [p.x, p.y])))"
        found = json.loads(subprocess.run(["node", "-e", program], capture_output=True, check=True).stdout)
        assert len(found) == count and all(found[a][1] < found[b][1] for a, b in edges)
        for a in range(count):
            for b in range(a):
                apart = abs(found[a][0] - found[b][0]) >= (nodes[a]["w"] + nodes[b]["w"]) / 2
                assert apart or found[a][1] != found[b][1]
