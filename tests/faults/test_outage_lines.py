"""An outage of a server has a few lines in the log of each process, however many calls fail meanwhile.

The test stops servers, so it has its own; and each process has its own log.
"""

import asyncio
import signal

from faults import processes, servers
from faults.processes import LoggedProcess
from headrace.adapters.servers import Servers
from headrace.settings import Settings
from support.harness import open_api
from support.patience import until

REQUESTS = 40


def warnings(process: LoggedProcess) -> list[str]:
    """Return the warnings and errors in the log of *process*, but for that of local mode."""
    lines = [line for line in process.output.splitlines() if "[warning" in line or "[error" in line]
    return [line for line in lines if "local_auth" not in line]


async def test_an_outage_of_each_server_has_a_few_lines_in_each_process(
    own: Settings, own_servers: Servers
) -> None:
    async with (
        processes.api(own) as (api_process, address),
        processes.worker(own) as worker,
        open_api(address) as api,
    ):
        for server in own_servers.all():
            service = {"PostgreSQL": "postgresql", "Redis": "redis"}[server.label]
            running = [await api.submit("ticks", params={"count": 60, "interval_ms": 100}) for _ in range(3)]
            before = {process: len(warnings(process)) for process in (api_process, worker)}
            await servers.stop(server, signal.SIGINT)
            for _ in range(REQUESTS):
                await api.http.post("/api/v1/jobs", json={"pipeline": "noop"})
            for process in before:
                await process.wait_for_output(f"service={service}")
            await asyncio.sleep(2)  # in which loops of both processes fail many times
            await servers.start(server)

            def is_over(service: str = service) -> bool:
                lines = [*warnings(api_process), *warnings(worker)]
                lines = [line for line in lines if service in line]
                began = sum("outage_began" in line for line in lines)
                return began == sum("outage_over" in line for line in lines) >= 2

            await until(is_over, lambda: api_process.output + worker.output)
            ended = [await api.finish(job["id"]) for job in running]

            assert {(job["state"], job["attempt"]) for job in ended} == {("succeeded", 1)}
            for process, count in before.items():
                added = warnings(process)[count:]
                assert 2 <= len(added) <= 6, added
