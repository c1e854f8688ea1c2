"""The examples of pages that need files or checks of their own; test_doc_pages.py runs most others."""

from pathlib import Path

import msgspec

from headrace.api.tones import ToneView
from headrace.settings import Settings
from support.doc_blocks import texts
from support.harness import serving, working


async def test_the_example_in_the_pipeline_guide_runs(settings: Settings, tmp_path: Path) -> None:
    (example,) = texts("docs/pipelines.md", "python")
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


def test_the_example_in_the_tone3000_guide_has_the_fields_of_a_response() -> None:
    (example,) = texts("docs/tone3000.md", "json")

    shown = msgspec.json.decode(example, type=ToneView)

    assert msgspec.to_builtins(shown) == msgspec.json.decode(example)
