"""Text of the IR for somebody who reads it: it is read back, fits a screen, and says of a pass no more than what it did."""

import difflib
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlc.demo import MODEL
from mlc.ir import builder as g
from mlc.ir.module import Module
from mlc.ir.text import WIDTH, _words, wrapped
from mlc.ir.value_names import ValueNames
from mlc.passes.manager import PassManager
from mlc.passes.pipelines import pipeline


@pytest.fixture(scope="module")
def dumped(tmp_path_factory):
    """The files of every pass over the bundled model."""
    from mlc.compiler import load

    folder = tmp_path_factory.mktemp("ir")
    PassManager(pipeline(2, "x86-64-v3"), dump=folder).run(load(MODEL))
    return {path.name: path.read_text() for path in sorted(folder.glob("*.mlir")) if "-level-" not in path.name}


def test_every_stage_is_read_back_as_the_text_that_it_was(dumped):
    assert len(dumped) > 20
    for text, name in {text: name for name, text in dumped.items()}.items():
        if name.split("-", 1)[1] in ("schedule.mlir", "lower.mlir"):
            continue  # outline and plan-arena have their form
        assert Module.parse(text, file=name).text(True, ValueNames()) == text, name


def test_lines_fit_a_screen_unless_they_are_one_word(dumped):
    for name, text in dumped.items():
        for line in text.splitlines():
            assert len(line) <= WIDTH or list(_words(line.strip())) == [line.strip()], f"{name}: {line}"


def test_passes_that_change_nothing_leave_the_text_as_it_is(dumped):
    texts = list(dumped.items())
    same = [name for (_, before), (name, after) in pairwise(texts) if before == after]
    assert any(name.endswith("-dce.mlir") for name in same) and len(same) >= 5


def module(extra: bool) -> Module:
    m = g.module_builder("main")
    with m.function(inputs=[("x", ("N", 3), "f32")]) as (x,):
        with g.location("/block/first/Exp"):
            y = g.exp(x)
        with g.location("/block/second/Thing_7"):
            if extra:
                g.tanh(x)
            for _ in range(3):
                y = g.neg(g.exp(y))
        m.outputs([("y", y)])
    return m.finish()


def test_a_value_keeps_its_name_when_others_go():
    made, names = module(extra=True), ValueNames()
    before = made.text(names=names)
    assert "%block.first.Exp = graph.exp %x" in before and "%second.Thing7.exp.3 = " in before
    made.main.body.block.first_op.next_op.detach()  # tanh, which nothing reads
    change = [
        line for line in difflib.ndiff(before.splitlines(), made.text(names=names).splitlines()) if line[0] in "+-"
    ]
    assert [line.split()[1] for line in change] == ["%second.Thing7.tanh"]


def test_what_takes_the_place_of_a_value_takes_its_name(tmp_path):
    m = g.module_builder("main")
    with m.function(inputs=[("x", (2, 3), "f32")]) as (x,):
        with g.location("/scale/Div"):
            y = g.div(x, g.scalar_like(x, 4.0))
        m.outputs([("y", g.exp(y)), ("z", g.tanh(y))])
    PassManager("cse,simplify,dce", dump=tmp_path).run(m.finish())
    before, after = (path.read_text().splitlines() for path in sorted(tmp_path.glob("*-[cs]*.mlir")))
    change = [line.split(" : ")[0] for line in difflib.ndiff(before, after) if line[0] in "+-"]
    assert [line.split(" = ")[1].split()[0] for line in change if "scale.Div = " in line] == ["graph.div", "graph.mul"]
    assert not any("exp" in line or "tanh" in line for line in change)


def test_names_of_a_model_do_not_hang_on_what_stands_before():
    one, two = (module(extra).text(names=ValueNames()).splitlines() for extra in (False, True))
    assert len(set(two) - set(one)) == 1 and not set(one) - set(two)


@given(
    st.lists(
        st.one_of(st.text(max_size=12), st.from_regex(r"[a-z_/.0-9]{1,30}", fullmatch=True)), min_size=1, max_size=5
    )
)
@example(["", "a_1_2", "1", "_1", "/", "größe", "x", "x_1", "-", 'say "no"', "node_", "main.2", "x.2"])
def test_whatever_nodes_are_called_the_text_is_read_back_as_it_was(names):
    m = g.module_builder("main")
    with m.function(inputs=[("x", ("N",), "f32")]) as (x,):
        y = x
        for name in names:
            with g.location(name, file="model.onnx"):
                y = g.add(g.exp(y), y)
        m.outputs([("y", y)])
    text = m.finish().text(True, ValueNames())
    assert Module.parse(text).text(True, ValueNames()) == text


def test_copies_bear_the_names_of_what_they_are_copies_of():
    made = module(extra=True)
    ValueNames().keep(made.op)
    assert made.clone().text(names=ValueNames()) == made.text(names=ValueNames())


@pytest.mark.parametrize("width", [1, 20, 40, 120])
def test_lines_are_parted_outside_of_types_and_literals(width):
    text = '  %a = my.op "two  words -> \\" > " %b {k = array<i64: 1, 2>} : tensor<N x 3 x f32>, (f32) -> tensor<2xf32>\n\n}\n'
    made = wrapped(text, width)
    assert " ".join(made.split()) == " ".join(text.split()) and 'two  words -> \\" > "' in made
    assert "tensor<N x 3 x f32>" in made and "k = array<i64: 1, 2>" in made
