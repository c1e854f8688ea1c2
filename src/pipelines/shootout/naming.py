"""What the files of a chain are called: its number and its name."""

import re
import unicodedata

from headrace.pipelines.shootout.params import Chain, ShootoutParams


def position(params: ShootoutParams, chain: Chain) -> int:
    """Where *chain* stands among all, from 0."""
    return [each.name for each in params.chains].index(chain.name)


def numbered(params: ShootoutParams, chain: Chain) -> str:
    """`01-clean`: sorts like the chains, and every file system takes it."""
    plain = unicodedata.normalize("NFKD", chain.name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:48].strip("-")
    return f"{position(params, chain) + 1:02d}-{slug or 'chain'}"
