"""The tone shootout: one guitar track through several signal chains, made equally loud, to compare."""

from headrace.pipelines.shootout.steps import shootout

__all__ = ["shootout"]
