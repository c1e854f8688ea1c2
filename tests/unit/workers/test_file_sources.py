"""What a step may save as a file."""

from pathlib import Path

import pytest

from headrace.workers.values import bytes_or_path


@pytest.mark.parametrize(
    "source", [b"RIFF", bytearray(b"RIFF"), memoryview(b"RIFF"), memoryview(b"R-I-F-F")[::2]]
)
def test_a_file_may_be_any_bytes_like_object(source: object) -> None:
    taken = bytes_or_path(source)

    assert taken == b"RIFF"
    assert type(taken) is bytes


def test_bytes_are_copied_when_they_are_passed() -> None:
    source = bytearray(b"RIFF")

    taken = bytes_or_path(source)
    source[:] = b"FORM"

    assert taken == b"RIFF"


@pytest.mark.parametrize("source", ["mixes/one.wav", Path("mixes/one.wav")])
def test_a_text_or_a_path_is_the_path_of_a_file(source: object) -> None:
    assert bytes_or_path(source) == Path("mixes/one.wav")


@pytest.mark.parametrize(
    ("source", "kind"), [(None, "NoneType"), (3, "int"), ([b"RIFF"], "list"), (object(), "object")]
)
def test_other_types_are_refused_as_files(source: object, kind: str) -> None:
    with pytest.raises(TypeError) as caught:
        bytes_or_path(source)

    assert str(caught.value) == f"a file is bytes or a path, not {kind}"
