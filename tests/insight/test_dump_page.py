"""The page beside dumped IR: every pass with its file and its changes, nothing from elsewhere, text shown as text."""

import re
from html.parser import HTMLParser
from pathlib import Path

import mlc
from mlc.cli import main
from mlc.insight.pages import LONGEST, difference, write_index
from mlc.passes.manager import PassRecord

VOID = {"meta"}


class Page(HTMLParser):
    """Links and text of a page whose tags are closed in order."""

    def __init__(self, path: Path):
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open += [tag] if tag not in VOID else []
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_dump_has_a_page_that_links_every_file_and_nothing_else(tmp_path: Path) -> None:
    model = Path(mlc.__file__).parent / "demo/digits.onnx"
    assert (
        main(
            [
                "opt",
                str(model),
                "--passes",
                "decompose,simplify,dce",
                "--dump-ir",
                str(tmp_path),
                "-o",
                str(tmp_path / "o"),
            ]
        )
        == 0
    )
    page = Page(tmp_path / "index.html")
    assert page.links == ["00-input.mlir", "01-decompose.mlir", "02-simplify.mlir", "03-dce.mlir"]
    assert all((tmp_path / link).exists() for link in page.links)
    assert re.search(r"-.*graph\.softmax", page.text) and re.search(r"\+.*graph\.exp", page.text)
    assert page.text.count("no change") == 1  # dce


def test_numbers_of_values_are_no_difference() -> None:
    before = ["%0 = a", "%1 = b", "%2 = c %1", "%3 = d %2"]
    after = ["%0 = a", "%1 = c %0", "%2 = d %1"]
    assert list(difference(before, after)) == [" %0 = a", "-%1 = b", " %1 = c %0", " %2 = d %1"]
    assert list(difference(before, [line.replace("%", "%1") for line in before])) == []


def test_what_stands_apart_is_shown_apart() -> None:
    before = [f"line {number}" for number in range(20)]
    after = [line for line in before if line not in ("line 3", "line 15")]
    found = list(difference(before, after))
    assert [line for line in found if line[0] == "-"] == ["-line 3", "-line 15"]
    assert found[5] == " ⋮" and len(found) == 11


def test_text_of_the_ir_is_no_markup_and_a_long_difference_ends(tmp_path: Path) -> None:
    (tmp_path / "00-input.mlir").write_text("<b>&amp;</b>\n")
    (tmp_path / "01-change.mlir").write_text("<script>\n" * (LONGEST + 9))
    write_index(tmp_path, [PassRecord("change", 0.25, 1, 2, True)])
    page = Page(tmp_path / "index.html")
    assert "-<b>&amp;</b>" in page.text and "+<script>" in page.text
    assert "250.0 ms" in page.text and "and 10 lines more: see the files" in page.text


def test_words_that_changed_are_marked_in_lines_that_took_the_place_of_others(tmp_path: Path) -> None:
    (tmp_path / "00-input.mlir").write_text("builtin.module {\n  %0 = graph.add %x, %x : f32\n  return %0\n}\n")
    (tmp_path / "01-change.mlir").write_text("builtin.module {\n  %7 = graph.mul %x, %y : f32\n  return %7\n}\n")
    write_index(tmp_path, [PassRecord("change", 0.25, 2, 2, True)])
    text = (tmp_path / "index.html").read_text()
    assert "<del>-  %0 = <mark>graph.add</mark> %x, <mark>%x</mark> : f32</del>" in text
    assert "<ins>+  %7 = <mark>graph.mul</mark> %x, <mark>%y</mark> : f32</ins>" in text
    assert "<mark>%7</mark>" not in text and Page(tmp_path / "index.html").text.count("no change") == 0


def test_a_dump_shows_the_levels_on_the_way_to_loops_and_each_file_runs(tmp_path: Path) -> None:
    """Levels of all kernels, then the leaves; who goes on from a file gets what the whole way gives, to the bit."""
    import numpy as np

    from mlc.compiler import Compilation, Inspection
    from mlc.options import CompileOptions

    model = Path(mlc.__file__).parent / "demo/digits.onnx"
    options = CompileOptions(cache=False, threads=1, settings={"winograd": "off"})
    compilation = Compilation(options, inspection=Inspection(dump=tmp_path))
    compilation.lower(compilation.load(model))
    page = Page(tmp_path / "index.html")
    way = [link for link in page.links if "schedule" in link or "lower" in link]
    assert [re.sub(r"^\d+-", "", link) for link in way] == [
        "schedule.mlir", "lower-level-1.mlir", "lower-level-2.mlir", "lower-level-3.mlir", "lower.mlir",
    ]  # fmt: skip
    assert page.links == sorted(p.name for p in tmp_path.glob("*.mlir"))
    assert "loc(" in (tmp_path / page.links[0]).read_text()
    ((shape, _),) = mlc.load(model).input_types
    x = np.random.default_rng(0).random([3, *shape[1:]]).astype(np.float32)
    want = mlc.compile(model, threads=1, cache=False, settings=options.settings)(x)
    for link in way[1:]:
        text = (tmp_path / link).read_text()
        assert ("linalg.generic" in text) == (link != way[-1])
        assert np.array_equal(mlc.compile(tmp_path / link, threads=1, cache=False)(x), want), link
