"""The lesson of docs/see-inside.md: each of its links leads to a place of the page, which shows what the link says."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

import mlc
from benchmarks.browser import Browser, Page, found
from mlc.cli import main

DIGITS = Path(mlc.__file__).parent / "demo/digits.onnx"
LESSON = Path(__file__).parents[2] / "docs/see-inside.md"
PLACES = re.findall(r"\]\(view\.html(#[^)]+)\)", LESSON.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    if found() is None:
        pytest.skip("there is no browser to follow links in: apt-get install chromium")
    path = tmp_path_factory.mktemp("lesson") / "view.html"
    assert main(["view", str(DIGITS), "-o", str(path), "--seconds", "0.05", "-q"]) == 0
    with Browser() as browser:
        opened = browser.open(path, PLACES[0])
        opened.wait("document.body?.dataset.place ?? null", 30)
        yield opened


def follow(page: Page, place: str) -> str:
    """Click it; what the page misses of it."""
    page.value(f"location.hash = {place!r}")
    page.wait(f"document.body.dataset.place === {place!r} || null", 10)
    return page.value("document.body.dataset.missing")


def test_the_lesson_goes_from_the_model_to_assembly() -> None:
    tabs = [place.split("/")[0] for place in PLACES]
    assert len(PLACES) >= 18 and {"#graph", "#kernels", "#memory", "#time"} == set(tabs)
    for node in ("Conv", "Softmax"):
        own = [place for place in PLACES if f"{node}" in place]
        assert own[0].startswith("#graph/input/") and own[-1].endswith("/assembly")


def test_every_link_of_the_lesson_shows_what_it_names(page: Page) -> None:
    for place in PLACES:
        assert follow(page, place) == "", place
        tab, what, *more = map(unquote, place[1:].split("/"))
        assert page.value("[...document.querySelectorAll('section.tab:not([hidden])')].length") == 1
        shown = page.value("document.querySelector('section.tab:not([hidden])').innerText")
        if tab == "graph":
            node, *before = more
            assert page.value("document.querySelector('.strip [aria-pressed=true]').firstChild.data") == what, place
            assert node in page.value("document.querySelector('.details').innerText"), place
            assert page.value("document.querySelectorAll('.pane').length") == 1 + len(before), place
        elif tab == "kernels":
            assert what in page.value("document.querySelector('.facts').innerText"), place
            assert "of the roof" in shown and "what takes its time" in shown, place
            lit = page.value("[...document.querySelectorAll('.column')].map((c) => c.querySelectorAll('.lit').length)")
            assert len(lit) == 4 and all(lit), place
        else:
            top = page.value(f"document.querySelector('[data-card={what}]').getBoundingClientRect().top")
            assert 0 <= top < 900, place


def test_the_address_of_a_place_leads_back_to_it(page: Page) -> None:
    for place in ("#graph/fuse/%2FSoftmax", "#graph/fuse//before", "#kernels/rows_0/loops/3", "#time"):
        assert follow(page, place) == ""
        page.value("document.querySelector('[data-tab=memory]').click()")
        assert page.value("location.hash") == "#memory"
        assert follow(page, place) == "" and page.value("location.hash") == place
    page.value("document.querySelector('[data-tab=kernels]').click()")
    page.value("document.querySelector('[data-kernel=rows_0]').click()")
    assert page.value("location.hash") == "#kernels/rows_0"


@pytest.mark.parametrize(
    ("place", "missing"),
    [
        ("#graph/fuze", "there is no pass fuze"),
        ("#graph/fuse/none", "no op after fuse comes from none"),
        ("#kernels/none", "there is no kernel none"),
        ("#kernels/rows_0/poem", "has no poem"),
        ("#kernels/rows_0/loops/99999", "has no loops line 99999"),
        ("#kernels/rows_0/loops/x", "has no loops line x"),
        ("#memory/none", "memory has no part none"),
        ("#none", "there is no tab none"),
        ("#time/%", "time has no part %"),
    ],
)
def test_what_there_is_not_is_said(page: Page, place: str, missing: str) -> None:
    assert missing in follow(page, place)
    assert missing in page.value("document.querySelector('header [role=alert]').innerText")
