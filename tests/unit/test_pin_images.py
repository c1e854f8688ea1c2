"""The tool that pins images: what it reads and writes, and what it does without a registry."""

import stat
from hashlib import sha256
from pathlib import Path

import pin_images
import pytest
from pin_images import FILES, ROOT, UNKNOWN, images_in, look_up, main, pin

OLD, NEW = f"sha256:{'0' * 64}", f"sha256:{'a1' * 32}"
TEXT = f"""FROM docker.io/library/python:3.13-slim AS build
FROM docker.io/library/python:3.13-slim@{OLD}
COPY --from=build /build /build
  image: headrace:latest
    image: docker.io/library/postgres:17
    image: docker.io/valkey/valkey:8@{OLD}  # why
# image: of a comment
"""
IMAGES = {"docker.io/library/python:3.13-slim", "docker.io/library/postgres:17", "docker.io/valkey/valkey:8"}
OTHERS = {
    "docker.io/library/debian:trixie-slim",
    "quay.io/oauth2-proxy/oauth2-proxy:v7.15.3",
    "docker.io/prom/prometheus:v3.5.0",
    "docker.io/grafana/grafana:12.2.0",
}


def test_images_of_a_registry_are_found_by_their_tags() -> None:
    assert images_in(TEXT) == IMAGES


def test_the_files_of_the_project_name_the_images_that_are_known() -> None:
    assert set().union(*(images_in((ROOT / name).read_text()) for name in FILES)) == IMAGES | OTHERS


def test_each_image_gets_its_digest_and_keeps_its_tag() -> None:
    pinned = pin(TEXT, dict.fromkeys(IMAGES, NEW))

    assert OLD not in pinned
    assert pinned.replace(f"@{NEW}", "") == TEXT.replace(f"@{OLD}", "")
    assert pinned.count(f"@{NEW}") == 4
    assert pin(pinned, dict.fromkeys(IMAGES, NEW)) == pinned


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the files, and an empty search path for programs."""
    for name in FILES:
        (tmp_path / name).write_text((ROOT / name).read_text())
    monkeypatch.setattr(pin_images, "ROOT", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path


def install(project: Path, script: str) -> None:
    program = project / "bin" / "skopeo"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def test_a_digest_is_that_of_what_the_registry_sends(project: Path) -> None:
    install(project, 'printf "a list of images, of %s" "$3"')

    sent = b"a list of images, of docker://docker.io/library/postgres:17"

    assert look_up("docker.io/library/postgres:17") == f"sha256:{sha256(sent).hexdigest()}"


def test_both_files_are_pinned_together(project: Path) -> None:
    install(project, "printf 'a list of images'")
    digest = f"sha256:{sha256(b'a list of images').hexdigest()}"

    assert main() == 0
    for name in FILES:
        text = (project / name).read_text()
        assert text == pin(text, dict.fromkeys(IMAGES | OTHERS, digest))
        assert "@sha256:" in text


@pytest.mark.parametrize("script", [None, "exit 1", 'case "$3" in *postgres*) exit 1;; esac; echo x'])
def test_nothing_is_changed_unless_every_registry_answers(
    project: Path, script: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if script is not None:
        install(project, script)

    assert main() == UNKNOWN
    assert [(project / name).read_text() for name in FILES] == [(ROOT / name).read_text() for name in FILES]
    assert "docker.io/library/postgres:17 unknown" in capsys.readouterr().out
