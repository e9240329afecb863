"""Derivatives as text: what the pass appends to small programs, that it is right, and that nothing is left to simplify."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlc.ir.samples import random_inputs
from mlc.passes.manager import PassManager
from tests.autodiff.derivatives import slopes
from tests.passes.golden import Golden

FILES = sorted((Path(__file__).parent / "golden").glob("*.mlir"))


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_the_pass_appends_this(path: Path, update_golden: bool) -> None:
    golden = Golden(path)
    before = golden.module()
    after = PassManager(golden.passes, verify_each=True).run(before)
    if update_golden:
        golden.update(str(after))
    assert str(after) == Golden(path).expected
    assert str(PassManager("simplify,cse,dce").run(after)) == str(after)
    inputs = random_inputs(before, seed=0)
    rng = np.random.default_rng(0)
    added = after.output_names[len(before.output_names) :]
    wrt = [name.removeprefix("gradient.") for name in added] if "jvp" not in golden.passes else ["x"]
    tangents = {n: rng.standard_normal(x.shape) for n, x in zip(before.input_names, inputs, strict=True) if n in wrt}
    expected = slopes(before, inputs, tangents)
    if "jvp" in golden.passes:
        found = after.run(*inputs, *tangents.values())[len(before.output_names) :]
    else:
        gradients = after.run(*inputs)[len(before.output_names) :]
        found = [np.asarray(sum((d * t).sum() for d, t in zip(gradients, tangents.values(), strict=True)))]
    for value, slope in zip(found, expected, strict=True):
        np.testing.assert_allclose(value, slope, rtol=1e-6, atol=1e-6)
