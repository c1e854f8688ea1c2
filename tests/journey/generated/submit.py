"""Submits a job with the client that openapi-python-client generates from /openapi.json."""

import json
import sys

from headrace_api_client import Client
from headrace_api_client.api.jobs import list_jobs, submit_job
from headrace_api_client.models import JobPage, JobView, ListJobsStateItem, SubmitJob, SubmitJobParams

client = Client(base_url=sys.argv[1])
params = SubmitJobParams.from_dict({"count": 2, "interval_ms": 1})
job = submit_job.sync(client=client, body=SubmitJob(pipeline="ticks", params=params))
assert isinstance(job, JobView), job
states = [ListJobsStateItem.QUEUED, ListJobsStateItem.RUNNING, ListJobsStateItem.SUCCEEDED]
page = list_jobs.sync(client=client, state=states, pipeline="ticks", limit=1000)
assert isinstance(page, JobPage), page
found = any(item.id == job.id for item in page.items)
print(json.dumps({"state": job.state, "count": job.params["count"], "found": found}))
