"""Every test begins from the same seed, whatever ran before it in the process."""

import pytest

from mlc import nn


@pytest.fixture(autouse=True)
def _seeded() -> None:
    nn.seed(0)
