"""Thumbnails of an album: a job with one step run per picture, and a step that makes the page."""

from datetime import timedelta
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct

from headrace import PermanentError, Pipeline, StepContext, step


class Album(Struct, forbid_unknown_fields=True):
    title: str
    pictures: Annotated[list[str], Meta(min_length=1, max_length=1000)]


class Thumbnail(Struct):
    picture: str
    width: int


@step(runs_in="process", retries=3, timeout=timedelta(minutes=5))
def thumbnail(context: StepContext[Album], picture: str) -> Thumbnail:
    """Safe to run again: it makes the same thumbnail."""
    if picture.startswith("missing"):
        raise PermanentError(f"there is no picture {picture}", code="picture_missing")
    for percent in (25, 50, 75, 100):
        context.progress(percent, 100)
    return Thumbnail(picture, 128)


@step
def page(context: StepContext[Album]) -> UUID:
    """Safe to run again: the new page replaces the previous one."""
    pictures: list[Thumbnail] = context.output(thumbnails)
    entries = "".join(f"<li>{entry.picture}</li>" for entry in pictures)
    html = f"<h1>{context.params.title}</h1><ul>{entries}</ul>"
    file_id: UUID = context.save_file("album.html", html.encode(), "text/html")
    return file_id


album = Pipeline("album", params=Album, description="Makes thumbnails of pictures, and a page of them.")
thumbnails = album.add(thumbnail, for_each=lambda params: params.pictures, weight=10)
album.add(page, result=True)
