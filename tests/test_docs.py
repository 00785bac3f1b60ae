"""The documentation's own promises: its relative links lead somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def links(page: Path) -> list[str]:
    """Targets of a page's links and pictures but web addresses, without anchors. [a](b.md#c) [d](http://e) -> b.md"""
    prose = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    targets = re.findall(r"\]\(\s*<?([^)\s>]+)", re.sub(r"`[^`\n]*`", "", prose))
    return [target.split("#")[0] for target in targets if not re.match(r"[a-z]+:|#", target)]


def test_links_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("[a](b.md#c), ![d](../e.png), [f](http://g) [h](#i) `[j](k)`\n```\n[l](m)\n```\n[n](o \"p\")\n")
    assert links(page) == ["b.md", "../e.png", "o"]
    assert sum(len(links(page)) for page in PAGES) > 15


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file(page):
    missing = [target for target in links(page) if not (page.parent / target).exists()]
    assert not missing
