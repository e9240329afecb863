"""Hostile files: a number always means the same file, and mutations of models stay well-formed messages."""

import json
import random

import onnx
import pytest

from benchmarks.hostile.mutations import damaged, edited_json, edited_model, edited_text
from benchmarks.hostile.seeds import base_models

OPERATORS = ["Add", "MatMul", "Reshape"]


@pytest.mark.parametrize("name", list(base_models()))
def test_mutations_are_decided_by_their_number(name: str) -> None:
    data = base_models()[name]
    for number in range(40):
        found, again = (edited_model(data, random.Random(number), OPERATORS) for _ in range(2))
        assert found == again
        onnx.ModelProto.FromString(found)
    assert damaged(data, random.Random(3)) == damaged(data, random.Random(3)) != data


def test_text_keeps_being_text() -> None:
    text = "func.func @main(%x: tensor<4xf32>) {\n  func.return %x\n}"
    assert len({edited_text(text, random.Random(number)) for number in range(50)}) > 20


def test_json_keeps_being_json() -> None:
    text = '{"a": [1, 2, {"b": "N"}], "c": {}}'
    found = {edited_json(text, random.Random(number)) for number in range(50)}
    assert len(found) > 20
    for each in found:
        json.loads(each)
