"""The colours of the chains, equal in all pictures and on the page, distinct on a dark background."""

from typing import Final

GROUND: Final = "#0e1116"
PANEL: Final = "#151a21"
LINE: Final = "#2a323d"
TEXT: Final = "#e6eaf0"
FAINT: Final = "#94a0b0"

CHAINS: Final = (
    "#ffb020",
    "#38c6f4",
    "#ff6b6b",
    "#7ddb5a",
    "#c08bff",
    "#ff8fd0",
    "#2fd9b0",
    "#f4e04d",
    "#6b93ff",
    "#ff8c42",
    "#b8c4d4",
    "#c7a27a",
)
