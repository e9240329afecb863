"""The pages of the documentation: their snippets run, and what they show is what the code prints today."""

import re
from pathlib import Path

import pytest

from docs import generate


@pytest.mark.parametrize("page", generate.pages(), ids=lambda page: page.stem)
def test_a_page_shows_what_its_snippets_print(page):
    if program := generate.missing(page):
        pytest.skip(f"{page.name} needs {program}")
    assert generate.rendered(page) == page.read_text(encoding="utf-8"), "run: python docs/generate.py"


@pytest.mark.parametrize("page", generate.pages(), ids=lambda page: page.stem)
def test_links_between_pages_and_files_lead_somewhere(page):
    root = Path(generate.__file__).parent.parent
    text = re.sub(generate.BLOCK, "", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        made = target == "view.html" and "-o view.html" in page.read_text(
            encoding="utf-8"
        )  # tests/insight follow its places
        assert target.startswith("https://") or made or (page.parent / target).exists(), target
    for name in re.findall(r"`((?:mlc|tests|docs|examples|benchmarks)/[\w/.-]+)`", text):
        assert (root / name).exists(), name


@pytest.mark.parametrize("page", generate.pages(), ids=lambda page: page.stem)
def test_tests_that_a_page_names_are_there(page):
    """docs/security.md names one for every line."""
    root = Path(generate.__file__).parent.parent
    everything = "\n".join(file.read_text(encoding="utf-8") for file in (root / "tests").rglob("test_*.py"))
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"`(test_\w+)`", text):
        assert f"def {name}(" in everything, name
    if page.stem == "security":
        rows = [
            line for line in text.splitlines() if line.startswith("|") and not line.startswith(("| ---", "| what |"))
        ]
        assert rows and all("`test_" in row for row in rows)


def test_every_page_is_in_the_index():
    index = (Path(generate.__file__).parent / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in generate.pages() if page.name != "README.md" and f"({page.name})" not in index] == []


def test_a_line_of_dots_stands_for_any_lines():
    assert generate._matches("a\n...\nd\n", "a\nb\nc\nd\n")
    assert generate._matches("a\n...\nd\n", "a\nd\n")
    assert not generate._matches("a\n...\nd\n", "a\nb\n")


def test_a_snippet_that_fails_fails_the_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```sh\nmlc check nowhere.onnx\n```\n")
    with pytest.raises(ValueError, match="page.md:1: 'mlc check nowhere.onnx' fails with exit code 1"):
        generate.rendered(page)
    page.write_text("```python\nprint(1 + 1)\n```\n```text\n3\n```\n")
    assert generate.rendered(page).endswith("```text\n2\n```\n")
