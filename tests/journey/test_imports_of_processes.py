"""The process of a step imports what its worker imports, wherever a module comes from."""

import os
import sys
import zipfile
from pathlib import Path

import msgspec
import pytest

from faults import processes
from headrace.settings import Settings
from support.harness import serving

FLOW = """
import sys
from msgspec import Struct
from headrace import Pipeline, StepContext, step
{imports}

class Params(Struct):
    pass

@step
async def in_loop(context: StepContext[Params]) -> list[str]:
    return [*sys.path, {value}]

@step(runs_in="process", retries=0)
def in_process(context: StepContext[Params]) -> list[list[str]]:
    return [context.output(first), [*sys.path, {value}]]

{name} = Pipeline({name!r}, params=Params)
first = {name}.add(in_loop)
{name}.add(in_process, result=True)
"""
MODULE = (sys.executable, "-m", "headrace")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a zip file, the two parts of a namespace package, and a module called `settings`."""
    zipped = FLOW.format(name="zipped", imports="import zipped_flow_value", value="zipped_flow_value.VALUE")
    with zipfile.ZipFile(tmp_path / "flows.zip", "w") as archive:
        archive.writestr("zipped_flows.py", zipped)
        archive.writestr("zipped_flow_value.py", "VALUE = 'from the zip file'\n")
    spread = FLOW.format(name="spread", imports="from acme_of_test.two import VALUE", value="VALUE")
    for part, text in (("one", spread), ("two", "VALUE = 'from the other part'\n")):
        (tmp_path / part / "acme_of_test").mkdir(parents=True)
        (tmp_path / part / "acme_of_test" / f"{part}.py").write_text(text)
    (tmp_path / "settings.py").write_text("VALUE = 'from the settings of the user'\n")
    named = FLOW.format(name="named", imports="import settings", value="settings.VALUE")
    (tmp_path / "named_flow.py").write_text(named)
    return tmp_path


@pytest.mark.parametrize("command", [processes.HEADRACE, MODULE], ids=["headrace", "python -m headrace"])
async def test_steps_import_the_same_modules_in_the_worker_and_in_processes(
    settings: Settings, folder: Path, command: tuple[str, ...]
) -> None:
    sources = ("zipped_flows", "acme_of_test.one", str(folder / "named_flow.py"))
    imported = msgspec.structs.replace(settings, pipelines=sources)
    entries = [folder / "flows.zip", folder / "one", folder / "two"]
    path = os.pathsep.join(map(str, entries))
    async with (
        serving(imported) as api,
        processes.supervised(imported, command=command, PYTHONPATH=path) as parent,
    ):
        names = ("zipped", "spread", "named")
        done = [await api.finish((await api.submit(name))["id"]) for name in names]
        output = parent.output

    assert [(job["state"], job["error"]) for job in done] == [("succeeded", None)] * 3, output
    for job, value in zip(
        done, ["from the zip file", "from the other part", "from the settings of the user"], strict=True
    ):
        in_loop, in_process = job["result"]
        assert in_loop == in_process
        assert in_loop[-1] == value
        assert Path(in_loop[0]).name != "headrace"
