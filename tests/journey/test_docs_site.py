"""The site of the documentation holds every page, leads nowhere else, and loads nothing from other hosts."""

import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

import docs_site
import pytest

pytest.importorskip("zensical", reason="there is no wheel for this platform")

ROOT: Final = Path(__file__).parents[2]
LOADING: Final = {
    "audio": ("src",),
    "embed": ("src",),
    "iframe": ("src",),
    "image": ("href", "xlink:href"),
    "img": ("src", "srcset"),
    "link": ("href",),
    "object": ("data",),
    "script": ("src",),
    "source": ("src", "srcset"),
    "use": ("href", "xlink:href"),
    "video": ("src", "poster"),
}
"""The attributes of elements whose addresses a browser requests by itself."""
IN_STYLES: Final = re.compile(r"(?:url\(|@import )[\"']?([^\"')\s;]+)", re.IGNORECASE)
FEATURES_OF_OTHER_HOSTS: Final = ("mermaid", "glightbox", "pyodide", "arithmatex")
"""Classes of elements for which the scripts of the theme fetch a library from another host."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return docs_site.build(tmp_path_factory.mktemp("site") / "docs")


class LoadedAddresses(HTMLParser):
    """Collects the addresses that a browser requests when it shows a page or a drawing."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self._is_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._is_style = tag == "style"
        for name, value in attrs:
            if name in LOADING.get(tag, ()) and value:
                self.addresses.append(value)
            elif name == "style" and value:
                self.addresses += IN_STYLES.findall(value)

    def handle_data(self, data: str) -> None:
        if self._is_style:
            self.addresses += IN_STYLES.findall(data)


def loaded_by(file: Path) -> list[str]:
    """Return each address that a browser requests when it shows *file*."""
    text = file.read_text()
    if file.suffix == ".css":
        return IN_STYLES.findall(text)
    parser = LoadedAddresses()
    parser.feed(text)
    return parser.addresses


def test_every_page_is_built_and_in_the_navigation(site: Path) -> None:
    listed = [name for names in docs_site.navigation().values() for name in names]
    pages = {name for name in docs_site.pages() if name.endswith(".md")}

    assert sorted(listed) == sorted(pages)
    assert all((site / docs_site.pages()[name]).with_suffix(".html").is_file() for name in listed)
    assert {"README.md", "docs/faq.md", "docs/troubleshooting.md", "CHANGELOG.md"} <= pages


def test_a_page_that_is_not_in_the_navigation_is_added_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docs_site, "NAVIGATION", {"Start": ["README.md", "docs/no-such-page.md"]})

    navigation = docs_site.navigation()

    assert navigation["Start"] == ["README.md"]
    assert {"docs/faq.md", "CHANGELOG.md"} <= set(navigation["More"])


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    files = [file for kind in ("html", "css", "svg") for file in site.rglob(f"*.{kind}")]
    foreign = {
        (file.name, address)
        for file in files
        for address in loaded_by(file)
        if re.match(r"(https?:)?//", address)
    }

    assert len(files) > 50
    assert foreign == set()


def test_no_page_uses_what_the_scripts_fetch_from_another_host(site: Path) -> None:
    for page in site.rglob("*.html"):
        classes = " ".join(re.findall(r'class="([^"]*)"', page.read_text()))
        assert [name for name in FEATURES_OF_OTHER_HOSTS if name in classes.split()] == [], page.name


def test_everything_that_a_page_loads_is_there(site: Path) -> None:
    missing = {
        (page.name, address)
        for page in site.rglob("*.html")
        if page.name != "404.html"  # its addresses begin at the root of a server
        for address in loaded_by(page)
        if not address.startswith(("data:", "#")) and not (page.parent / address.split("?")[0]).exists()
    }

    assert missing == set()


def test_the_search_works_without_a_server(site: Path) -> None:
    index = (site / "search.js").read_text()

    assert "step_lost" in index
    assert "assets/iframe-worker.js" in (site / "index.html").read_text()


def test_comments_about_blocks_are_not_in_the_pages(site: Path) -> None:
    assert [page.name for page in site.rglob("*.html") if "<!-- not run:" in page.read_text()] == []


def test_a_broken_link_fails_the_build(tmp_path: Path) -> None:
    config = docs_site.stage(tmp_path, None)
    with (tmp_path / "pages" / "faq.md").open("a") as page:
        page.write("\n[gone](no-such-page.md) and [gone](glossary.md#no-such-heading)\n")

    with pytest.raises(subprocess.CalledProcessError):
        docs_site.run_build(config)


def test_links_to_other_files_lead_to_the_source_if_it_has_an_address() -> None:
    with_source = docs_site.convert("docs/guide.md", "https://example.com/source/")

    assert "](https://example.com/source/src/" in with_source
    assert "](../src/" not in docs_site.convert("docs/guide.md", None)
