"""Valid and invalid file names and media types."""

import pytest

from headrace.domain.files.names import FileNameError, check_media_type, check_name


@pytest.mark.parametrize("name", ["a", "mix (1).wav", "é" * 127, "x" * 255, ".hidden", "..."])
def test_portable_file_names_are_kept(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "  ", ".", "..", "a/b", "a\\b", "a\x00", "a\nb", "a\x7f", "x" * 256, "é" * 128, "half \ud800"],
    ids=ascii,
)
def test_unportable_file_names_are_refused(name: str) -> None:
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
def test_media_types_lose_their_parameters_and_invalid_ones_become_octet_stream(
    media_type: str, kept: str
) -> None:
    assert check_media_type(media_type) == kept
