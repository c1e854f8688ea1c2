"""The pipelines that come with Headrace, and the modules that define them."""

from typing import Final

BUNDLED: Final = {
    "noop": "headrace.pipelines.samples",
    "ticks": "headrace.pipelines.samples",
    "flaky": "headrace.pipelines.samples",
    "crunch": "headrace.pipelines.samples",
    "shootout": "headrace.pipelines.shootout",
}
BUNDLED_MODULES: Final = frozenset(BUNDLED.values())
ALL: Final = "all"
NONE: Final = "none"
