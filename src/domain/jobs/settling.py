"""The rule for the step runs of an attempt that is over, as SQL. Pure."""


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
