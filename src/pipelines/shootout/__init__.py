"""The tone shootout: sends one guitar track through several signal chains and makes them equally loud."""

from headrace.pipelines.shootout.steps import shootout

__all__ = ["shootout"]
