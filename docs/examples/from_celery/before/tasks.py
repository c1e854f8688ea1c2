"""Thumbnails of an album: one task per picture, and a chord that makes the page when all are there."""

from celery import Celery, chord, shared_task

app = Celery("album", broker="redis://localhost:6379/0", backend="redis://localhost:6379/1")
app.conf.task_track_started = True


class DownloadError(Exception):
    pass


@shared_task(
    bind=True,
    autoretry_for=(DownloadError,),
    retry_backoff=True,
    max_retries=3,
    acks_late=True,
    time_limit=300,
)
def thumbnail(self, picture: str) -> dict[str, object]:
    if picture.startswith("missing"):
        raise ValueError(f"there is no picture {picture}")
    for percent in (25, 50, 75, 100):
        self.update_state(state="PROGRESS", meta={"percent": percent})
    return {"picture": picture, "width": 128}


@shared_task
def album_page(thumbnails: list[dict[str, object]], title: str) -> str:
    entries = "".join(f"<li>{entry['picture']}</li>" for entry in thumbnails)
    return f"<h1>{title}</h1><ul>{entries}</ul>"


def make_album(title: str, pictures: list[str]) -> str:
    """Start the tasks, and return the id with which the web application asks for the state of the page."""
    header = [thumbnail.s(picture) for picture in pictures]
    return str(chord(header)(album_page.s(title)).id)
