"""Names the files of a chain by its number and name."""

import re
import unicodedata

from headrace.pipelines.shootout.params import Chain, ShootoutParams


def position(params: ShootoutParams, chain: Chain) -> int:
    """Return the index of *chain* among all chains."""
    return [candidate.name for candidate in params.chains].index(chain.name)


def numbered(params: ShootoutParams, chain: Chain) -> str:
    """Return a name such as `01-clean`, which sorts like the chains and is valid in every file system."""
    plain = unicodedata.normalize("NFKD", chain.name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:48].strip("-")
    return f"{position(params, chain) + 1:02d}-{slug or 'chain'}"
