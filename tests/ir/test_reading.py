"""Errors of IR text: line, column, the line itself and a caret, for what does not parse and for what does not verify."""

from io import StringIO
from pathlib import Path

import pytest

import mlc
from mlc.errors import InvalidModel, InvalidText
from mlc.ir import builder as g
from mlc.ir.graph.base import location_name
from mlc.ir.module import Module
from mlc.ir.text import TextPrinter
from mlc.ir.types import tensor

TEXT = """// a comment
builtin.module @main {
  // another
  func.func @main(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
    %0 = graph.neg %x : tensor<2x3xf32> -> tensor<2x3xf32>
    %1 = graph.abs %0 : tensor<2x3xf32> -> tensor<2x3xf32>
    func.return %1 : tensor<2x3xf32>
  }
}
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "column", "marked", "message"),
    [
        ("graph.abs", "graph.obs", 6, 10, "graph.obs", "operation graph.obs is of no dialect"),
        ("abs %0", "abs %7", 6, 20, "%7", "%7 is used and nowhere defined"),
        ("abs %0 ", "abs 0 ", 6, 20, "0", "operand expected"),
        ("neg %x", "\tneg %x", 5, 16, "", ""),
        ("-> tensor<2x3xf32>\n    %1", "-> tensor<2x4xf32>\n    %1", 6, 20, "%0", "type tensor<2x3xf32>"),
        ("-> tensor<2x3xf32>\n    func", "-> tensor<2x3xi32>\n    func", 7, 17, "%1", "type"),
        (
            "  }\n}\n",
            "  ^bb1:\n    func.return %1 : tensor<2x3xf32>\n  }\n}\n",
            4,
            3,
            "func.func",
            "a region has 2 blocks",
        ),
        ("  }\n}\n", "  }\n", 8, 4, "", "the text ends in the middle"),
        ("tensor<2x3xf32> {", "tensor<2x3xf99> {", 4, 53, "", ""),
        ("graph.abs %0", 'graph.custom "abs', 6, 23, '"', "end of file reached before closing string literal"),
        ("graph.abs %0 :", "graph.abs %0 {axes = array<i4096: 0>} :", 6, 37, "i4096", "attribute expected"),
        ("graph.abs %0 :", "graph.abs %0 {axes = array<i65: 0>} :", 6, 10, "graph.abs", "an attribute is malformed"),
        ("@main {", "@main attributes {graph.symbols = {N = 3}} {", 2, 1, "builtin.module", "malformed"),
    ],
)
def test_an_error_names_the_place(old: str, new: str, line: int, column: int, marked: str, message: str) -> None:
    assert old in TEXT
    text = TEXT.replace(old, new)
    with pytest.raises(InvalidText) as caught:
        Module.parse(text, file="bad.mlir")
    error = caught.value
    assert message in error.message
    if marked:
        assert (error.line, error.column) == (line, column)
        assert error.text[column - 1 :].startswith(marked)
        first, shown, caret = str(error).splitlines()[:3]
        assert first.startswith(f"bad.mlir:{line}:{column}: ")
        assert shown.strip() == text.splitlines()[line - 1].strip() and caret.index("^") - 4 == column - 1


@pytest.mark.parametrize(
    ("elements", "type", "message"),
    [
        ("3( 3", "i64", "invalid literal"),
        ("1, 2, 3", "i64", "cannot reshape"),
        ("300, 1", "i8", "300 out of bounds"),
        ("yes, true", "i1", "yes"),
        ("1e, 2", "f32", "could not convert"),
    ],
)
def test_a_constant_that_spells_no_elements_is_refused(elements: str, type: str, message: str) -> None:
    text = f'builtin.module @main {{\n  func.func @main() -> tensor<2x{type}> {{\n    %0 = graph.constant "{elements}" : tensor<2x{type}>\n'
    with pytest.raises(InvalidText, match=f"bad.mlir:3:10: graph.constant.*({message})"):
        Module.parse(f"{text}    func.return %0 : tensor<2x{type}>\n  }}\n}}\n", file="bad.mlir")


def test_an_op_that_breaks_a_rule_is_marked_where_it_stands() -> None:
    text = TEXT.replace("tensor<2x3xf32>", 'tensor<?x3xf32, #graph.dims<["N+", ""]>>')
    with pytest.raises(InvalidText, match=r"bad.mlir:5:10: graph.neg.*cannot read the dimension 'N\+'"):
        Module.parse(text, file="bad.mlir")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (
            """func.func @main(%x: tensor<2xf32>) -> tensor<2xf32> {
  %1 = graph.abs %0 : tensor<2xf32> -> tensor<2xf32>
  %0 = graph.neg %x : tensor<2xf32> -> tensor<2xf32>
  func.return %1 : tensor<2xf32>
}""",
            "bad.mlir:2:8: graph.abs: operand 0 is used before",
        ),
        (
            """func.func @main(%x: tensor<2xf32>) -> tensor<2xf32> {
  %0 = graph.neg %0 : tensor<2xf32> -> tensor<2xf32>
  func.return %0 : tensor<2xf32>
}""",
            "bad.mlir:2:8: graph.neg: operand 0 is used before",
        ),
        (
            """func.func @main(%m: memref<4xf32>) {
  %zero = arith.constant 0 : index
  %four = arith.constant 4 : index
  %one = arith.constant 1 : index
  scf.for %i = %zero to %four step %one {
    %a = memref.load %m[%late] : memref<4xf32>
    memref.store %a, %m[%i] : memref<4xf32>
  }
  %late = arith.addi %one, %one : index
  func.return
}""",
            "bad.mlir:6:10: memref.load: %late is used before",
        ),
    ],
)
def test_a_value_that_is_used_before_its_definition_is_refused(text: str, place: str) -> None:
    with pytest.raises(InvalidText, match=place):
        Module.parse(text, file="bad.mlir")


def test_a_value_of_an_inner_block_is_not_seen_behind_it() -> None:
    module = Module.parse(TEXT)
    first, second, last = module.main.body.block.ops
    second.operands[0] = second.results[0]
    with pytest.raises(InvalidModel, match="used before it is defined"):
        module.verify()
    second.operands[0] = first.results[0]
    module.verify()
    other = Module.parse(TEXT).main.body.block.first_op
    assert other is not None
    last.operands[0] = other.results[0]
    with pytest.raises(InvalidModel):
        module.verify()


def test_the_caret_stays_below_in_a_line_with_tabs_and_in_a_long_one() -> None:
    with pytest.raises(InvalidText) as caught:
        Module.parse(TEXT.replace("    %1 = graph.abs", "\t%1 = graph.obs"))
    shown, caret = caught.value.excerpt()
    assert shown.startswith("\t") and caret.startswith("\t") and caret.index("^") == shown.index("graph.obs")
    long = f'{{a = "{"x" * 5000}"}}'
    with pytest.raises(InvalidText) as caught:
        Module.parse(TEXT.replace("%0 : tensor", f"%7 {long} : tensor"))
    shown, caret = caught.value.excerpt()
    assert len(shown) <= 160 and shown[caret.index("^") :].startswith("%7")


def test_functions_alone_and_comments_are_a_module(tmp_path: Path) -> None:
    bare = "\n".join(line for line in TEXT.splitlines()[2:-1])
    for text in (bare, f"// first\n\n{bare}"):
        assert str(mlc.load(text.encode())) == str(Module.parse(TEXT)).replace(
            " @main attributes", " attributes"
        ).replace("builtin.module @main", "builtin.module")
    (tmp_path / "m.mlir").write_text(bare)
    assert mlc.load(tmp_path / "m.mlir").output_names == ["output0"]


def test_a_module_without_a_main_function_says_which_it_has() -> None:
    with pytest.raises(mlc.InvalidModel) as caught:
        mlc.compile(TEXT.replace("@main(", "@other(").encode())
    assert "It has @other" in (caught.value.remedy or "")


@pytest.mark.parametrize(
    ("dims", "words"),
    [
        ('["N"]', "graph.dims holds sizes of 1 axes, and the tensor has 2"),
        ('["N", "", ""]', "sizes of 3 axes, and the tensor has 2"),
        ("[]", "sizes of 0 axes"),
        ('["", ""]', 'axis 0 is ? and graph.dims gives it no size: write its name, as in "N"'),
        ('["N", "3"]', 'axis 1 is 3 and graph.dims gives it the size "3": leave that empty'),
        ('["N N", ""]', "cannot read the dimension 'N N'"),
        ('[N, ""]', "string"),
        ("[1, 2]", "string"),
        ('"N"', "graph.dims holds sizes of 1 axes, and the tensor has 2"),
        ("N, M, K", "sizes of 3 axes, and the tensor has 2"),
        ("{}", "a size expected"),
        ('[["N"], ""]', "string"),
        ('["N" ""]', "']' expected"),
    ],
)
def test_sizes_of_a_type_that_do_not_fit_it_say_so_where_they_stand(dims: str, words: str) -> None:
    type = f"tensor<?x3xf32, #graph.dims<{dims}>>"
    good = 'tensor<?x3xf32, #graph.dims<["N", ""]>>'
    text = f"func.func @main(%x: {type}) -> {good} {{\n  %0 = graph.relu %x : {type} -> {good}\n  func.return %0 : {good}\n}}"
    with pytest.raises(InvalidText) as caught:
        Module.parse(text)
    assert words in caught.value.message and caught.value.line == (1 if "expected" in words or words == "string" else 2)
    assert "zip" not in str(caught.value) and "does not verify" not in str(caught.value)


def test_an_encoding_of_another_kind_is_told_what_is_written_there() -> None:
    text = 'func.func @main(%x: tensor<?xf32, "N">) -> tensor<?xf32, "N"> {\n  %0 = graph.relu %x : tensor<?xf32, "N"> -> tensor<?xf32, "N">\n  func.return %0 : tensor<?xf32, "N">\n}'
    with pytest.raises(InvalidText, match="as in tensor<N x f32>"):
        Module.parse(text)


def test_a_view_of_what_states_no_extents_is_an_error_of_the_text() -> None:
    text = """func.func @main(%x: memref<?x8xf32>) {
  %0 = kernel.view %x dims ["8*N"] : memref<?x8xf32> to memref<?xf32>
  func.return
}"""
    with pytest.raises(InvalidText, match="the extents of .* are not stated") as caught:
        Module.parse(text)
    assert (caught.value.line, caught.value.column) == (2, 8)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        (("N",), "f32"),
        (("x", 3, "x"), "f32"),
        (("f32", "tensor", 0), "i64"),
        (("2*N + 1", 7, "'odd name' + M"), "bool"),
        (("N*M", 1), "bf16"),
        (("größe", "max_seq", "'a\\\\b\"c\\'d'"), "u8"),
        (("N // 2", "min(64, S)", "max(0, S - 3)"), "f16"),
    ],
)
def test_a_type_with_named_sizes_is_read_as_it_is_written(shape: tuple, dtype: str) -> None:
    type = tensor(shape, dtype)
    out = StringIO()
    TextPrinter(out).print_attribute(type)
    text = out.getvalue()
    assert "#graph.dims" not in text
    for spelled in (text, str(type)):  # the second is what xDSL writes, with the sizes behind the type
        source = f"func.func @main(%x: {spelled}) -> {spelled} {{\n  func.return %x : {spelled}\n}}"
        assert Module.parse(source).main.args[0].type == type


@pytest.mark.parametrize(
    ("type", "message"),
    [
        ("tensor<Nx8xf32>", "a size with a name stands apart, as in tensor<N x 8 x f32>"),
        ("tensor<N x 8>", "a size with a name stands apart"),
        ('tensor<"N +" x f32>', "cannot read the dimension 'N \\+'"),
        ("tensor<N x -3 x f32>", "a size with a name stands apart"),
        ("tensor<-3 x N x f32>", "shape"),
    ],
)
def test_named_sizes_that_are_none_say_so(type: str, message: str) -> None:
    with pytest.raises(InvalidText, match=message) as caught:
        Module.parse(f"func.func @main(%x: {type}) {{\n  func.return\n}}")
    assert caught.value.line == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("graph.add %x, %x : tensor<2xf32>", None),
        ("graph.add %x, %x : tensor<2xf32>, tensor<2xf32> -> tensor<2xf32>", None),
        ("graph.add %x : tensor<2xf32>", "graph.add"),
        ("graph.add %x, %x : tensor<2xf32>, tensor<2xf32>", "'->' and the type of the result"),
        ("graph.add %x, %x : tensor<2xf32>, tensor<2xf32>, tensor<2xf32> -> tensor<2xf32>", "3"),
        ("graph.neg %x : tensor<3xf32>", "tensor<2xf32>"),
        ('graph.neg %x : tensor<"2*N" x 3 x f32>', 'tensor<"2\\*N" x 3 x f32>'),
    ],
)
def test_an_op_of_one_type_says_it_once(body: str, message: str | None) -> None:
    text = (
        f"func.func @main(%x: tensor<2xf32>) -> tensor<2xf32> {{\n  %y = {body}\n  func.return %y : tensor<2xf32>\n}}"
    )
    if message is None:
        assert "%y = graph.add %x, %x : tensor<2xf32>\n" in str(Module.parse(text))
        return
    with pytest.raises(InvalidText, match=message) as caught:
        Module.parse(text)
    assert caught.value.line == 2


def test_names_in_any_script_are_read_back() -> None:
    m = g.module_builder("main")
    with m.function(inputs=[("größe", ("Länge",), "f32")]) as (x,), g.location('узел "1"\n', file="модель.onnx"):
        m.outputs([("出力", g.exp(x))])
    made = m.finish()
    again = Module.parse(made.text(locations=True))
    assert (again.input_names, again.output_names, again.input_types) == (["größe"], ["出力"], made.input_types)
    assert again.text(locations=True) == made.text(locations=True)
    assert location_name(next(iter(again.main.body.block.ops))) == 'узел "1"\n'
