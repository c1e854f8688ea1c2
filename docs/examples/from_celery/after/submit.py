"""Submits an album and shows its progress, as the web application does."""

import os

from headrace_client import Client, ProgressFrame

with Client(os.environ.get("HEADRACE_URL", "http://127.0.0.1:8000")) as client:
    job = client.submit("album", {"title": "Alps", "pictures": ["peak.jpg", "lake.jpg"]}, key="album 7")
    for frame in client.watch(job.id):
        if isinstance(frame, ProgressFrame):
            print(f"{frame.fraction:.0%}")
    done = client.show(job.id)
    print(done.state, done.result)
