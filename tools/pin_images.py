"""Pins the images of Containerfile and compose.yaml to the digests that their tags name today.

It exits with 3, and changes no file, if a registry did not say which digest a tag names. It needs skopeo, or
docker with buildx, and a network.
"""

import re
import subprocess
import sys
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
FILES: Final = ("Containerfile", "compose.yaml")
UNKNOWN: Final = 3
_TIMEOUT_SECONDS: Final = 60
# Our own image has no registry in its name.
_IMAGE: Final = re.compile(
    r"^(\s*(?:FROM|image:)\s+)([a-z0-9.-]+\.[a-z]+/[\w./-]+:[\w.-]+)(?:@sha256:[0-9a-f]{64})?(?=\s|$)",
    re.MULTILINE,
)
# Both print the bytes of the list of images for all platforms. Their digest pins each of them.
_COMMANDS: Final = (
    ("skopeo", "inspect", "--raw", "docker://{}"),
    ("docker", "buildx", "imagetools", "inspect", "--raw", "{}"),
)


def images_in(text: str) -> set[str]:
    """Return the images, by tag, that *text* takes from a registry."""
    return {match[2] for match in _IMAGE.finditer(text)}


def pin(text: str, digests: Mapping[str, str]) -> str:
    """Return *text* with the digest of each image behind its tag."""
    return _IMAGE.sub(lambda match: f"{match[1]}{match[2]}@{digests[match[2]]}", text)


def look_up(image: str) -> str | None:
    """Return the digest that the registry names for *image*; None if no program can ask it."""
    for command in _COMMANDS:
        try:
            process = subprocess.run(
                [word.format(image) for word in command],
                capture_output=True,
                check=False,
                timeout=_TIMEOUT_SECONDS,
            )
        except (FileNotFoundError, subprocess.TimeoutExpired):
            continue
        if process.returncode == 0 and process.stdout:
            return f"sha256:{sha256(process.stdout).hexdigest()}"
    return None


def main() -> int:
    texts = {name: (ROOT / name).read_text() for name in FILES}
    images = sorted(set().union(*map(images_in, texts.values())))
    found = {image: look_up(image) for image in images}
    digests = {image: digest for image, digest in found.items() if digest is not None}
    for image in images:
        print(f"{image} {digests.get(image, 'unknown: no registry answers')}")
    if len(digests) < len(images):
        print("nothing was changed")
        return UNKNOWN
    for name, text in texts.items():
        (ROOT / name).write_text(pin(text, digests))
    return 0


if __name__ == "__main__":
    sys.exit(main())
