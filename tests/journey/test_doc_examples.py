"""The examples of pages that need files or checks of their own; test_doc_pages.py runs most others."""

import sys
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from headrace import Pipeline
from headrace.api.tones import ToneView
from headrace.settings import Settings
from headrace.testing import ParamsError, run
from support.doc_blocks import texts
from support.harness import serving, working


def block_with(page: str, text: str) -> str:
    """Return the only example in Python on a page that contains *text*."""
    (block,) = (block for block in texts(page, "python") if text in block)
    return block


def module_of(source: str, name: str) -> ModuleType:
    module = ModuleType(name)
    exec(compile(source, name, "exec"), vars(module))  # noqa: S102
    return module


async def test_the_example_in_the_pipeline_guide_runs(settings: Settings, tmp_path: Path) -> None:
    example = block_with("docs/pipelines.md", "line_count = Pipeline(")
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "counting.py").write_text(example)
    own = msgspec.structs.replace(settings, pipelines=(str(tmp_path / "flows"),))

    async with serving(own) as api, working(own):
        files = [
            (await api.http.post("/api/v1/files", files={"file": ("a", b"x\n" * lines)})).json()["id"]
            for lines in (3, 4)
        ]
        done = await api.finish((await api.submit("line_count", params={"files": files}))["id"])
        (report,) = (await api.http.get(f"/api/v1/jobs/{done['id']}/files")).json()["items"]
        text = (await api.http.get(f"/api/v1/files/{report['id']}/content")).text
        refused = await api.http.post(
            "/api/v1/jobs", json={"pipeline": "line_count", "params": {"files": []}}
        )

    assert (done["state"], done["result"]) == ("succeeded", 7), done["error"]
    assert (report["name"], text) == ("report.txt", f"{files[0]} 3\n{files[1]} 4\n")
    assert [fault["path"] for fault in refused.json()["errors"]] == ["$.params.files"]


def test_the_tasks_in_the_pipeline_guide_run() -> None:
    tasks = module_of(block_with("docs/pipelines.md", "async def resize"), "tasks")
    assert run(tasks.resize, {"width": 4}).result == "4x3"
    assert run(tasks.count, {"texts": ["a b", "c"]}).result == 3
    assert (tasks.count.name, tasks.resize.description) == (
        "count_words",
        "Shows how large a picture becomes.",
    )


def test_the_models_in_the_pipeline_guide_are_params() -> None:
    pipeline: Pipeline = module_of(
        block_with("docs/pipeline-values.md", "class Circle(BaseModel)"), "models"
    ).drawings
    params = {"title": "a", "shapes": [{"kind": "circle", "radius": 1}, {"kind": "square", "side": 2}]}
    assert run(pipeline, params).state == "succeeded"
    with pytest.raises(ParamsError, match=r"\$\.shapes\[0\]\.radius: "):
        run(pipeline, {"title": "a", "shapes": [{"kind": "circle", "radius": 0}]})


def test_the_tests_in_the_pipeline_guide_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    counting = module_of(block_with("docs/pipelines.md", "line_count = Pipeline("), "counting")
    monkeypatch.setitem(sys.modules, "counting", counting)
    tests = module_of(
        block_with("docs/testing-pipelines.md", "from headrace.testing import run"), "test_counting"
    )
    tests.test_the_lines_of_all_files_are_counted()
    tests.test_an_empty_file_fails_the_job_at_once()


def test_the_example_in_the_tone3000_guide_has_the_fields_of_a_response() -> None:
    (example,) = texts("docs/tone3000.md", "json")

    shown = msgspec.json.decode(example, type=ToneView)

    assert msgspec.to_builtins(shown) == msgspec.json.decode(example)
