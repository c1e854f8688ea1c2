"""The rules for an attempt that is over, as SQL: its step runs, and its time. Pure."""


def settle_steps_sql(source: str, state: str = "c.state") -> str:
    """Return an UPDATE that settles the unfinished step runs of the jobs `c.id` in *source*.

    Where *state*, the job's new state, is `queued`, running step runs become `pending` and keep the time of
    their next try. Else the job is final, and pending and running step runs are cancelled. Callers may append
    conditions.
    """
    return f"""UPDATE step_runs SET
        state = CASE WHEN {state} = 'queued' THEN 'pending' ELSE 'cancelled' END,
        retry_at = CASE WHEN {state} = 'queued' THEN retry_at END,
        finished_at = CASE WHEN {state} <> 'queued' THEN statement_timestamp() END
    FROM {source} WHERE step_runs.job_id = c.id
      AND (step_runs.state = 'running' OR (step_runs.state = 'pending' AND {state} <> 'queued'))"""  # noqa: S608


def ran_seconds_sql(job: str, ended_at: str = "statement_timestamp()") -> str:
    """Return the new `ran_seconds` of the row *job*, which is queued again; its attempt ended at *ended_at*.

    Only a job with a timeout pays for the lookup of when its attempt began.
    """
    return f"""CASE WHEN {job}.timeout_seconds IS NULL THEN {job}.ran_seconds
        ELSE {job}.ran_seconds + greatest(extract(epoch FROM {ended_at} - (
            SELECT at FROM job_changes WHERE job_id = {job}.id AND type = 'job.started'
            ORDER BY seq DESC LIMIT 1
        )), 0) END"""  # noqa: S608
