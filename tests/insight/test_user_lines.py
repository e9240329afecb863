"""Lines of Python on a page say nothing of the disk that a model was exported on."""

import pytest

from mlc.insight.view.user_lines import relative_lines


@pytest.mark.parametrize(
    ("lines", "shown"),
    [
        (["/home/me/net.py:12"], ["net.py:12"]),
        (["/home/me/net.py:12", "/home/me/net.py:7", ""], ["net.py:12", "net.py:7", ""]),
        (["/home/me/a/one.py:1", "/home/me/b/two.py:2"], ["a/one.py:1", "b/two.py:2"]),
        (["/home/me/one.py:1", "/home/menu/two.py:2"], ["me/one.py:1", "menu/two.py:2"]),
        (["/a/one.py:1", "/b/two.py:2"], ["/a/one.py:1", "/b/two.py:2"]),
        (["one.py:1", "/b/two.py:2"], ["one.py:1", "/b/two.py:2"]),
        (["C:\\nets\\one.py:1", "C:\\nets\\deep\\two.py:2"], ["one.py:1", "deep/two.py:2"]),
        (["net.py:3"], ["net.py:3"]),
        ([], []),
    ],
)
def test_the_common_folder_is_left_out(lines: list[str], shown: list[str]) -> None:
    nodes = {f"n{k}": {"path": ["m"], **({"line": line} if line else {})} for k, line in enumerate(lines)}
    found = relative_lines(nodes)
    assert [node.get("line", "") for node in found.values()] == shown and found.keys() == nodes.keys()
    assert all(node["path"] == ["m"] for node in found.values())
