"""Builds the documentation as a site that needs no server and asks no other host: `make docs`.

The pages are README.md, CHANGELOG.md, all of docs/ and the READMEs of the clients. Links to other files of
the repository become links below `--source-url`, or plain text without it.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
DOCS: Final = ROOT / "docs"
MOVED: Final = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "clients/python/README.md": "client-python.md",
    "clients/typescript/README.md": "client-typescript.md",
}
"""Pages outside of docs/, and where they are in the site."""

NAVIGATION: Final = {
    "Start": ["README.md", "docs/faq.md", "docs/from-celery.md", "docs/from-arq.md", "docs/from-rq.md"],
    "Write and use": [
        "docs/pipelines.md",
        "docs/pipeline-values.md",
        "docs/running-steps.md",
        "docs/testing-pipelines.md",
        "docs/pipelines-on-workers.md",
        "docs/clients.md",
        "docs/web.md",
        "clients/python/README.md",
        "clients/typescript/README.md",
        "docs/transactional-submit.md",
        "docs/graphql.md",
        "docs/http.md",
        "docs/glossary.md",
    ],
    "Run": [
        "docs/deployment.md",
        "docs/operations.md",
        "docs/connecting.md",
        "docs/authentication.md",
        "docs/tone3000.md",
        "docs/security.md",
        "docs/metrics.md",
        "docs/outages.md",
        "docs/retention.md",
        "docs/troubleshooting.md",
        "docs/benchmarks.md",
    ],
    "Understand and change": [
        "docs/architecture.md",
        "docs/guide.md",
        "docs/testing.md",
        "docs/threat-model.md",
        "docs/requirements.md",
        "docs/licences.md",
        "CHANGELOG.md",
    ],
}
"""The order in which a reader needs the pages. Absent pages are left out, others are added as `More`."""

TITLES: Final = {
    "README.md": "What it is",
    "clients/python/README.md": "Client for Python",
    "clients/typescript/README.md": "Client for TypeScript",
}
"""Names in the navigation, where the first heading of a page is none."""

DECISIONS: Final = "Decisions"

_LINK: Final = re.compile(r"\[(?P<text>[^\]\[]*(?:\[[^\]]*\][^\]\[]*)*)\]\((?P<target>[^()\s]+)\)")
_CODE: Final = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_COMMENT: Final = re.compile(r"^<!-- .*? -->\n", re.MULTILINE)
_TITLE: Final = re.compile(r"^# (.+)$", re.MULTILINE)
_ASSETS: Final = (".svg", ".png", ".yaml", ".graphql")
_SHIM_URL: Final = "https://unpkg.com/iframe-worker/shim"
"""What each page would load to search from a folder; the site has its own copy."""
_SHIM: Final = "assets/iframe-worker.js"


def pages() -> dict[str, str]:
    """Return the place in the site of each page and each asset, both relative to their roots."""
    files = sorted(file for file in DOCS.rglob("*") if file.suffix in (".md", *_ASSETS))
    names = [file.relative_to(ROOT).as_posix() for file in files]
    inside = {name: name.removeprefix("docs/") for name in names if not name.startswith("docs/site/")}
    return MOVED | inside


def title_of(page: str) -> str:
    """Return the name of a page in the navigation: its first heading, unless it has another."""
    if page in TITLES:
        return TITLES[page]
    text = _CODE.sub("", (ROOT / page).read_text())
    heading = _TITLE.search(text)
    return heading[1].replace("`", "") if heading else page


def navigation() -> dict[str, list[str]]:
    """Return the pages of each section."""
    known = pages()
    sections = {section: [name for name in names if name in known] for section, names in NAVIGATION.items()}
    listed = {name for names in sections.values() for name in names}
    decisions = sorted(name for name in known if name.startswith("docs/decisions/"))
    others = [name for name in known if name.endswith(".md") and name not in listed and name not in decisions]
    return sections | ({"More": others} if others else {}) | {DECISIONS: decisions}


def convert(page: str, source_url: str | None) -> str:
    """Return a page as the site has it: with links to pages of the site, and without its comments."""
    text = (ROOT / page).read_text()
    parts: list[str] = []
    end = 0
    for block in _CODE.finditer(text):
        parts += [_convert_text(text[end : block.start()], page, source_url), block[0]]
        end = block.end()
    parts.append(_convert_text(text[end:], page, source_url))
    return "".join(parts).replace("<details>", '<details markdown="1">')


def _convert_text(text: str, page: str, source_url: str | None) -> str:
    return _LINK.sub(lambda link: _convert_link(link, page, source_url), _COMMENT.sub("", text))


def _convert_link(link: re.Match[str], page: str, source_url: str | None) -> str:
    target, hash_mark, anchor = link["target"].partition("#")
    if "://" in target or not target:
        return link[0]
    known = pages()
    file = (ROOT / page).parent.joinpath(target).resolve().relative_to(ROOT).as_posix()
    if file == "docs/decisions":
        file = next(name for name in known if name.startswith("docs/decisions/"))
    if file in known:
        place = os.path.relpath(known[file], Path(known[page]).parent)
        return f"[{link['text']}]({place}{hash_mark}{anchor})"
    return link["text"] if source_url is None else f"[{link['text']}]({source_url.rstrip('/')}/{file})"


def _lines_of_navigation() -> Iterator[str]:
    yield "nav = ["
    for section, names in navigation().items():
        if section == DECISIONS:
            continue
        inner = [_entry(name) for name in names]
        if section == "Understand and change":
            decisions = ", ".join(map(_entry, navigation()[DECISIONS]))
            inner.append(f"{{ {json.dumps(DECISIONS)} = [{decisions}] }}")
        yield f"  {{ {json.dumps(section)} = [{', '.join(inner)}] }},"
    yield "]"


def _entry(name: str) -> str:
    return f"{{ {json.dumps(title_of(name))} = {json.dumps(pages()[name])} }}"


def stage(folder: Path, source_url: str | None) -> Path:
    """Write the sources of the site into *folder*, and return its configuration."""
    for name, place in pages().items():
        target = folder / "pages" / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".md"):
            target.write_text(convert(name, source_url))
        else:
            shutil.copyfile(ROOT / name, target)
    shutil.copyfile(DOCS / "site" / "site.css", folder / "pages" / "site.css")
    config = (DOCS / "site" / "zensical.toml").read_text()
    file = folder / "zensical.toml"
    file.write_text(config.replace("nav = []", "\n".join(_lines_of_navigation())))
    return file


def run_build(config: Path) -> Path:
    """Build the site of *config*, and return the folder of its pages.

    Raises:
        CalledProcessError: a link is broken.
    """
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean", "--config-file", str(config)]
    subprocess.run(command, check=True, cwd=config.parent)
    return config.parent / "html"


def build(folder: Path, source_url: str | None = None) -> Path:
    """Build the site below *folder*, in place of an older one, and return the folder of its pages."""
    for part in ("pages", "html"):
        shutil.rmtree(folder / part, ignore_errors=True)
    site = run_build(stage(folder, source_url))
    shutil.copyfile(DOCS / "site" / "iframe-worker" / "index.js", site / _SHIM)
    shutil.copyfile(DOCS / "site" / "iframe-worker" / "LICENSE", (site / _SHIM).with_suffix(".LICENSE"))
    for page in site.rglob("*.html"):
        shim = os.path.relpath(site / _SHIM, page.parent)
        page.write_text(page.read_text().replace(_SHIM_URL, shim))
    return site


def main() -> None:
    """Build the site, and print where it is."""
    parser = argparse.ArgumentParser(description="Build the documentation as a site.")
    parser.add_argument("folder", type=Path, help="folder to build in")
    parser.add_argument("--source-url", help="address of the files of this repository")
    arguments = parser.parse_args()
    print(build(arguments.folder.absolute(), arguments.source_url) / "index.html")


if __name__ == "__main__":
    main()
