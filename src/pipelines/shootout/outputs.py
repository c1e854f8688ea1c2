"""The outputs of the steps. Sound is passed on as the id of a file."""

from uuid import UUID

from msgspec import Struct


class Checked(Struct, frozen=True, kw_only=True):
    """Every input can be read; *inputs* counts the checked files."""

    inputs: int


class Prepared(Struct, frozen=True, kw_only=True):
    """The DI that all chains get: mono, 48 kHz, 32-bit float."""

    file: UUID
    samples: int
    seconds: float
    source_rate: int
    source_channels: int


class Spectrum(Struct, frozen=True, kw_only=True):
    """Average power per band, in dB, at logarithmically spaced *frequencies* (Hz)."""

    frequencies: list[float]
    levels_db: list[float]


class Render(Struct, frozen=True, kw_only=True):
    """One chain's sound before matching, with its measures.

    *low* and *high* are the extremes of equal stretches of time, for drawing.
    """

    chain: str
    file: UUID
    lufs: float
    true_peak_dbtp: float
    rms_dbfs: float
    low: list[float]
    high: list[float]
    spectrum: Spectrum


class Matched(Struct, frozen=True, kw_only=True):
    """One target for all; *gains_db* in the order of the chains.

    *limited_by* is the chain whose peaks limit the target; None if the target is the requested one.
    """

    target_lufs: float
    gains_db: list[float]
    limited_by: str | None


class Track(Struct, frozen=True, kw_only=True):
    """One chain's finished sound."""

    name: str
    file: UUID
    file_name: str
    lufs: float
    true_peak_dbtp: float
    gain_db: float
    crest_db: float


class Picture(Struct, frozen=True, kw_only=True):
    title: str
    file: UUID
    file_name: str


class Pictures(Struct, frozen=True, kw_only=True):
    pictures: list[Picture]


class Shootout(Struct, frozen=True, kw_only=True):
    """The result: *page* is the HTML file to open, with everything inside it."""

    page: UUID
    tracks: list[Track]
    target_lufs: float
    limited_by: str | None
    pictures: list[Picture]
