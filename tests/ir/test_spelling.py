"""Which names are near enough to be suggested."""

import pytest

from mlc.ir.spelling import nearest

NODES = ["/features/features.0/Conv", "/features/features.2/Relu", "/head/Gemm", "images", "attention_mask"]


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("Gemm", ["/head/Gemm"]),
        ("gemm", ["/head/Gemm"]),
        ("/HEAD/GEMM", ["/head/Gemm"]),
        ("iamges", ["images"]),
        ("image", ["images"]),
        ("attenton_mask", ["attention_mask"]),
        ("mask", ["attention_mask"]),
        ("/decoder/layers.7/Softmax", []),
        ("x", []),
        ("", []),
    ],
)
def test_what_is_near_is_suggested_and_nothing_else(name: str, want: list[str]) -> None:
    assert nearest(name, NODES) == want


def test_several_come_the_nearest_first_and_once() -> None:
    assert nearest("Conv", ["a/Conv", "b/Conv", "conv", "a/Conv"], 3) == ["conv", "a/Conv", "b/Conv"]
