"""The site: it builds without a warning, its links lead somewhere, nothing is fetched, what is generated is fresh."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PICTURES = DOCS / "assets" / "pictures"


def python(*words):
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(
        [sys.executable, *map(str, words)], cwd=ROOT, capture_output=True, text=True, timeout=900, env=environment
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site, as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    built = python("-m", "mkdocs", "build", "--strict", "--site-dir", folder)
    assert built.returncode == 0, built.stderr[-3000:]
    assert "WARNING" not in built.stdout + built.stderr
    return folder


class Page(HTMLParser):
    """What a page has to point at, and what it points to."""

    def __init__(self, path):
        super().__init__()
        self.anchors, self.links, self.resources = set(), [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name) and (name == "id" or tag == "a")}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag == "link" and given.get("href") and given.get("rel") not in ("canonical", "next", "prev"):
            self.resources.append(given["href"])
        if tag in ("img", "script", "iframe", "source", "video", "audio") and given.get("src"):
            self.resources.append(given["src"])


@pytest.fixture(scope="module")
def pages(site):
    return {path.resolve(): Page(path) for path in site.rglob("*.html")}


def test_every_link_of_the_built_site_leads_somewhere(site, pages):
    assert len(pages) > 35
    dead = []
    for path, page in pages.items():
        if path.name == "404.html":  # served anywhere, so its links begin at the root
            continue
        for link in page.links + page.resources:
            target, anchor = urldefrag(unquote(link))
            if re.match(r"[a-z]+:", target):
                continue
            file = (path.parent / target).resolve() if target else path
            file = file / "index.html" if file.is_dir() else file
            if not file.is_file() or (anchor and file in pages and anchor not in pages[file].anchors):
                dead.append(f"{path.relative_to(site.resolve())}: {link}")
    assert not dead


def test_a_reader_needs_no_network(site, pages):
    """No font, script, style or picture is another host's; the search has its index beside it."""
    fetched = {r for page in pages.values() for r in page.resources if re.match(r"(https?:)?//", r)}
    assert not fetched
    for style in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?https?:", style.read_text(encoding="utf-8")), style
    assert (site / "search" / "search_index.json").stat().st_size > 100_000
    assert not any("mermaid" in path.read_text(encoding="utf-8") for path in DOCS.rglob("*.md"))  # would be fetched


def test_only_papers_and_packages_are_linked_outside(pages):
    outside = {link for page in pages.values() for link in page.links if re.match(r"[a-z]+:", link)}
    assert all(re.match(r"https://(arxiv\.org/abs/\d|squidfunk\.github\.io)", link) for link in outside), outside


def test_generated_pages_are_fresh():
    checked = python(DOCS / "generate.py", "--check")
    assert checked.returncode == 0, checked.stderr


def test_figures_of_recipe_cards_are_the_readmes():
    """Each number that a card gives stands in the README, in the same words."""
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").replace("**", "").split())
    given = re.sub(r"(?m)^( *#.*|  (arguments|then):.*)$", "", (DOCS / "figures.yaml").read_text(encoding="utf-8"))
    found = re.findall(r"\d[\d,]*(?:\.\d+)?(?: ± \d+\.\d+)?", " ".join(given.split()))
    numbers = [number.rstrip(",") for number in found if "." in number or len(number) > 2]
    assert len(numbers) > 30
    missing = [number for number in numbers if not re.search(rf"(?<![\d.,]){re.escape(number)}(?![\d]|\.\d)", readme)]
    assert not missing


def test_pictures_are_small_and_shown():
    files = sorted(path for path in (DOCS / "assets").rglob("*") if path.suffix in (".png", ".svg"))
    text = "".join(path.read_text(encoding="utf-8") for path in [*DOCS.rglob("*.md"), ROOT / "mkdocs.yml"])
    assert len([path for path in files if path.parent == PICTURES]) >= 5
    for path in files:
        assert path.stat().st_size < 150_000, path
        assert path.name in text, path
    assert sum(path.stat().st_size for path in files) < 1_500_000
