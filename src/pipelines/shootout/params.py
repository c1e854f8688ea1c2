"""The parameters of a shootout: one DI track, up to twelve signal chains, and how to match their loudness."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

# The docstrings and descriptions below are part of the registered schema: changing one needs a new version of
# the pipeline.

BUILTIN = "builtin"

FileReference = Annotated[
    str,
    Meta(
        pattern=r"^(builtin|[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12})$",
        description="The id of an uploaded file, or `builtin` for the synthetic one that comes along.",
    ),
]
Frequency = Annotated[float, Meta(ge=10, le=20_000, description="Hz")]
BandGain = Annotated[float, Meta(ge=-30, le=30, description="dB")]
Q = Annotated[float, Meta(ge=0.1, le=20)]
Share = Annotated[float, Meta(ge=0, le=1, description="0 is all dry, 1 is all effect")]


class Input(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is taken of the DI, and at which level it enters every chain."""

    channel: (
        Annotated[int, Meta(ge=1, le=64, description="Which one of several; null mixes them.")] | None
    ) = None
    start_seconds: Annotated[float, Meta(ge=0, le=600)] = 0.0
    duration_seconds: Annotated[float, Meta(ge=0.4, le=600)] | None = None
    trim_db: (
        Annotated[
            float,
            Meta(
                ge=-100,
                le=-10,
                description="Both ends are cut to what comes this near to the loudest sample.",
            ),
        ]
        | None
    ) = -50.0
    rms_dbfs: Annotated[float, Meta(ge=-60, le=-6, description="Level of the DI; null keeps it.")] | None = (
        None
    )
    tail_seconds: Annotated[
        float, Meta(ge=0, le=10, description="Silence added at the end, for what rings on.")
    ] = 0.5


class HighPass(Struct, tag="high_pass", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lets through what is above *frequency*, 12 dB an octave."""

    frequency: Frequency
    q: Q = 0.707


class LowPass(Struct, tag="low_pass", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lets through what is below *frequency*, 12 dB an octave."""

    frequency: Frequency
    q: Q = 0.707


class LowShelf(Struct, tag="low_shelf", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Raises or lowers everything below *frequency*."""

    frequency: Frequency
    gain_db: BandGain
    q: Q = 0.707


class HighShelf(Struct, tag="high_shelf", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Raises or lowers everything above *frequency*."""

    frequency: Frequency
    gain_db: BandGain
    q: Q = 0.707


class Peak(Struct, tag="peak", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Raises or lowers what is around *frequency*."""

    frequency: Frequency
    gain_db: BandGain
    q: Q = 1.0


Band = HighPass | LowPass | LowShelf | HighShelf | Peak


class Gain(Struct, tag="gain", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Louder or quieter."""

    db: Annotated[float, Meta(ge=-60, le=60)]


class Eq(Struct, tag="eq", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A row of filters."""

    bands: Annotated[tuple[Band, ...], Meta(min_length=1, max_length=16)]


class Drive(Struct, tag="drive", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A waveshaper that runs at a multiple of the rate, so that its overtones do not fold back.

    `soft` is tanh, `hard` cuts at full scale, `tube` bends one half-wave sooner than the other.
    """

    amount_db: Annotated[float, Meta(ge=0, le=60)]
    curve: Literal["soft", "hard", "tube"] = "soft"
    oversample: Literal[2, 4, 8] = 4
    level_db: Annotated[float, Meta(ge=-40, le=12)] = 0.0
    mix: Share = 1.0


class Ir(Struct, tag="ir", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A cabinet and its microphone, or a room, by convolution with its impulse response."""

    file: FileReference = BUILTIN
    length_ms: Annotated[float, Meta(ge=1, le=5_000, description="What is longer is faded out.")] = 500.0
    normalise: Annotated[bool, Meta(description="Bring the response to unit energy.")] = True
    align: Annotated[bool, Meta(description="Cut the silence before the response.")] = True


class Delay(Struct, tag="delay", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An echo that repeats."""

    time_ms: Annotated[float, Meta(ge=1, le=2_000)]
    feedback: Annotated[float, Meta(ge=0, le=0.95)] = 0.3
    mix: Share = 0.3


Block = Gain | Eq | Drive | Ir | Delay


class Chain(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way of making the DI sound: blocks in the order of the signal."""

    name: Annotated[str, Meta(min_length=1, max_length=80, pattern=r"\S")]
    blocks: Annotated[tuple[Block, ...], Meta(max_length=24)]


class Match(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How loud all renders become.

    `common`: one target for all. Where one render would pass the ceiling there, the target is lowered for
    all, because limiting that one alone would break the match.
    """

    target_lufs: Annotated[float, Meta(ge=-40, le=-6)] = -16.0
    ceiling_dbfs: Annotated[float, Meta(ge=-20, le=-0.1, description="True peak, dBTP")] = -1.0
    policy: Literal["common"] = "common"


class ShootoutParams(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One DI through every chain."""

    chains: Annotated[tuple[Chain, ...], Meta(min_length=1, max_length=12)]
    di: FileReference = BUILTIN
    input: Input = Input()
    match: Match = Match()
    version: Literal[1] = 1
