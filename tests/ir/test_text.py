"""Text of the IR is what xDSL's printer writes."""

from io import StringIO

from hypothesis import example, given
from hypothesis import strategies as st
from xdsl.dialects.builtin import BytesAttr, ModuleOp, StringAttr
from xdsl.printer import Printer

from mlc.ir.text import text_of


@given(st.text(), st.binary())
@example('say "no" \\ yes\n\x7f é 日本', bytes(range(256)))
def test_literals_are_written_as_xdsl_writes_them(text: str, content: bytes) -> None:
    op = ModuleOp([], {"text": StringAttr(text), "bytes": BytesAttr(content)})
    out = StringIO()
    Printer(out).print_op(op)
    assert text_of(op) == out.getvalue() + "\n"
