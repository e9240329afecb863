"""What the report says of copies: which elements are moved, by which strides, and for whom; nothing where views are read in place."""

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc.insight.moves import Copies
from mlc.ir.kernel import program


def copies(function, *shapes):
    """The sentences of all calls, of a function of tensors of these shapes."""
    text = mlc.jit(function).trace(*[mlc.TensorSpec(shape, "f32") for shape in shapes]).lower().as_text("schedule")
    module = mlc.Module.parse(text)
    found = Copies(module)
    return [line for call in module.main.walk() if isinstance(call, program.CallOp) for line in found.of(call)]


@pytest.mark.parametrize(
    "shape, axes", [((6, 6), (1, 0)), ((2, 3, 5), (2, 1, 0)), ((3, 1, 7), (2, 1, 0)), ((4, 5, 6), (1, 0, 2))]
)
def test_a_transposed_output_is_copied_by_the_strides_of_numpy(shape, axes):
    view = np.zeros(shape, np.float32).transpose(axes)
    steps = [step // 4 for step, extent in zip(view.strides, view.shape, strict=True) if extent > 1]
    assert copies(lambda x: x.transpose(axes), shape) == [
        f"'x' by strides ({', '.join(map(str, steps))}) -> output 'result'"
    ]


def test_what_is_read_in_place_is_no_copy():
    assert copies(lambda x, y: x.T + y, (6, 4), (4, 6)) == []
    assert copies(lambda x: x.T @ x, (6, 4)) == []
    assert copies(lambda x: mnp.exp(x[1:3, ::2]).sum(), (6, 4)) == []
    assert copies(lambda x: x.reshape(24) + 1, (6, 4)) == []


def test_parts_that_are_put_side_by_side_are_copied_for_their_reader():
    first, second = copies(lambda x, w: mnp.concatenate([x, x.T]) @ w, (4, 4), (4, 5))
    assert first.startswith("'x' -> memory that ") and first.endswith(" reads")
    assert second.startswith("'x' by strides (1, 4) -> memory that ")


def test_panels_of_what_a_call_computes_are_copies_and_those_of_weights_are_not():
    (line,) = copies(lambda x, y: (x + y).T @ (x - y), (512, 512), (512, 512))
    assert line.startswith("the result of ") and line.endswith(" -> panel, tile by tile")
    weight = np.ones((512, 512), np.float32)
    assert copies(lambda x: x @ weight, (512, 512)) == []


def test_open_sizes_have_open_strides():
    (line,) = copies(lambda x: x.T, ("N", "M"))
    assert line == "'x' by strides (1, ?) -> output 'result'"


def test_the_command_line_shows_them(tmp_path, capsys):
    from mlc.cli import main

    mlc.export_onnx(lambda x: x.T, tmp_path / "turned.onnx", mlc.TensorSpec((5, 3), "f32"))
    assert main(["explain", str(tmp_path / "turned.onnx")]) == 0
    assert "  copies    'x' by strides (1, 3) -> output 'result'\n" in capsys.readouterr().out
