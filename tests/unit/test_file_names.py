"""Valid and invalid file names and media types."""

import pytest

from headrace.domain.files.names import FileNameError, check_media_type, check_name


@pytest.mark.parametrize("name", ["a", "mix (1).wav", "é" * 127, "x" * 255, ".hidden", "..."])
def test_a_name_that_any_system_takes_is_kept(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "  ", ".", "..", "a/b", "a\\b", "a\x00", "a\nb", "a\x7f", "x" * 256, "é" * 128, "half \ud800"],
    ids=ascii,
)
def test_a_name_that_some_system_would_not_take_is_refused(name: str) -> None:
    with pytest.raises(FileNameError) as refused:
        check_name(name)

    assert (
        str(refused.value) == "a file's name has 1 to 255 bytes, and no slash, backslash or control character"
    )


@pytest.mark.parametrize(
    ("media_type", "kept"),
    [
        ("audio/wav", "audio/wav"),
        ("Text/Plain; charset=utf-8", "text/plain"),
        ("nonsense", "application/octet-stream"),
        ("a/b/c", "application/octet-stream"),
        ("", "application/octet-stream"),
    ],
)
def test_a_type_is_kept_without_its_parameters_and_nonsense_is_bytes(media_type: str, kept: str) -> None:
    assert check_media_type(media_type) == kept
