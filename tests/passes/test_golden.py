"""Every golden file: the passes give the IR that stands below the line, and both sides compute the same."""

import pytest

from tests.passes.golden import FOLDER, Golden, check

FILES = sorted(FOLDER.glob("*.mlir"))


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_golden(path, update_golden):
    golden = Golden(path)
    text = check(golden)
    if update_golden:
        golden.update(text)
    else:
        assert text == golden.expected
