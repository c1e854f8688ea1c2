"""Uploads a file of customers, submits its import, and waits for the result."""

import os
from pathlib import Path

from headrace_client import Client

Path("customers.csv").write_text("ada\nbob\n")
with Client(os.environ.get("HEADRACE_URL", "http://127.0.0.1:8000")) as client:
    file = client.upload("customers.csv")
    job = client.submit("customers", {"file": file.id})
    job = client.wait(job.id, timeout=60)
    print(job.state, job.result)
