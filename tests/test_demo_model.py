"""The bundled model is what it says: small, symbolic in the batch, right on the bundled digits."""

import numpy as np
import onnx
import onnxruntime

from mlc.demo import MODEL, digits


def test_the_bundled_model_recognises_the_bundled_digits() -> None:
    images, labels = digits()
    assert images.shape == (50, 1, 8, 8)
    assert images.min() >= 0 and images.max() <= 16
    (probabilities,) = onnxruntime.InferenceSession(MODEL).run(None, {"images": images})
    assert (probabilities.argmax(-1) == labels).mean() >= 0.98
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-5)


def test_the_bundled_model_is_small_and_symbolic_in_the_batch() -> None:
    assert MODEL.stat().st_size < 300 * 1024
    graph = onnx.load(MODEL).graph
    assert [dim.dim_param or dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim] == ["N", 1, 8, 8]
    assert graph.output[0].type.tensor_type.shape.dim[0].dim_param == "N"
