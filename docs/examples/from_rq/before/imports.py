"""Imports a file of customers: a job checks it, and a second one that depends on it stores the rows."""

from pathlib import Path

from redis import Redis
from rq import Queue, Retry, get_current_job
from rq.job import Job


def check(path: str) -> int:
    rows = Path(path).read_text().splitlines()
    if not rows:
        raise ValueError(f"{path} is empty")
    return len(rows)


def store(path: str) -> int:
    job = get_current_job()
    rows = Path(path).read_text().splitlines()
    for done, _row in enumerate(rows, start=1):
        if job is not None:
            job.meta["done"] = done
            job.save_meta()
    return len(rows)


def start_import(path: str) -> str:
    """Enqueue both jobs, and return the id of the second one, which the web application polls."""
    queue = Queue("imports", connection=Redis())
    checked = queue.enqueue(check, path, retry=Retry(max=3, interval=[1, 5, 30]), job_timeout=60)
    stored: Job = queue.enqueue(store, path, depends_on=checked, job_timeout=600, result_ttl=86_400)
    return str(stored.id)
