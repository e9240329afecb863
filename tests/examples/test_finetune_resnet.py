"""An imported network is fine-tuned, exported, and trained from C with the same bytes."""

from shutil import which

import numpy as np
import onnx
import pytest

pytest.importorskip("sklearn", reason="the digits are scikit-learn's, of the extra 'bench'")


def test_a_small_network_learns_anew_and_other_runtimes_agree(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    from examples import finetune_resnet as example

    found = example.main(["--blocks", "1", "--epochs", "3", "--out", str(tmp_path / "models")])
    assert found["after"] > found["before"] + 0.2 and found["upright"] > 0.3
    assert found["off"] < 1e-4
    assert found.get("same") == (1.0 if which("cc") else None)
    assert "the states are the same bytes" in capsys.readouterr().out or not which("cc")
    upright, mirrored = (
        {
            tensor.name: onnx.numpy_helper.to_array(tensor)
            for tensor in onnx.load(tmp_path / "models" / name).graph.initializer
        }
        for name in ("upright.onnx", "mirrored.onnx")
    )
    for name, same in (("stem.weight", True), ("head.weight", False)):
        assert np.array_equal(upright[name], mirrored[name]) == same


def test_the_network_is_a_residual_one_of_eighteen_layers() -> None:
    from examples import finetune_resnet as example

    model = example.resnet()
    onnx.checker.check_model(model, full_check=True)
    kinds = [node.op_type for node in model.graph.node]
    shortcuts = sum(".shortcut." in node.name for node in model.graph.node if node.op_type == "Conv")
    assert kinds.count("Conv") - shortcuts + kinds.count("Gemm") == 18 and shortcuts == 3 and kinds.count("Add") == 8


@pytest.mark.parametrize("arguments", [["--blocks", "0"], ["--blocks", *"11111"], ["--epochs", "0"]])
def test_networks_that_the_images_are_too_small_for_are_refused(arguments, capsys: pytest.CaptureFixture[str]) -> None:
    from examples import finetune_resnet as example

    with pytest.raises(SystemExit):
        example.main(arguments)
    assert "1 to 4 stages" in capsys.readouterr().err
