"""Secrets of the settings may be in files, as containers mount them."""

from pathlib import Path

import pytest

from headrace.settings import SettingsError, explain_unknown_variables, read_settings

PROVIDER = {
    "HEADRACE_PROVIDERS": "corp",
    "HEADRACE_PROVIDER_CORP_ISSUER": "https://id.example.com",
    "HEADRACE_PROVIDER_CORP_CLIENT_ID": "me",
}


@pytest.mark.parametrize("field", ["secret_key", "proxy_secret", "job_token_key"])
def test_a_secret_is_read_from_its_file_without_the_end_of_the_line(field: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("a secret of 20 chars\n")
    environment = {f"HEADRACE_{field.upper()}_FILE": str(file)}

    settings = read_settings(environment)

    assert getattr(settings, field) == "a secret of 20 chars"
    assert "a secret of 20 chars" in settings.secrets
    assert explain_unknown_variables(settings, environment) is None


def test_the_secret_of_a_provider_is_read_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of the provider")
    environment = PROVIDER | {"HEADRACE_PROVIDER_CORP_CLIENT_SECRET_FILE": str(tmp_path / "secret")}

    settings = read_settings(environment)

    assert settings.provider_settings[0].client_secret == "of the provider"
    assert explain_unknown_variables(settings, environment) is None


def test_other_settings_have_no_file(tmp_path: Path) -> None:
    (tmp_path / "level").write_text("debug")
    environment = {"HEADRACE_LOG_LEVEL_FILE": str(tmp_path / "level")}

    settings = read_settings(environment)

    assert settings.log_level == "info"
    assert "HEADRACE_LOG_LEVEL_FILE is not a setting" in str(explain_unknown_variables(settings, environment))


def test_a_secret_is_given_in_one_way_only(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("one")

    with pytest.raises(SettingsError, match="HEADRACE_SECRET_KEY_FILE and HEADRACE_SECRET_KEY are both set"):
        read_settings({"HEADRACE_SECRET_KEY": "two", "HEADRACE_SECRET_KEY_FILE": str(tmp_path / "secret")})


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe\x00"])
def test_a_file_without_a_secret_is_refused_in_a_line_that_names_its_variable(
    content: bytes | None, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(SettingsError) as refused:
        read_settings({"HEADRACE_PROXY_SECRET_FILE": str(file)})

    assert str(refused.value).startswith("HEADRACE_PROXY_SECRET_FILE: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("file", ["", "  "])
def test_an_empty_name_of_a_file_counts_as_not_set(file: str) -> None:
    settings = read_settings({"HEADRACE_SECRET_KEY_FILE": file, "HEADRACE_SECRET_KEY": "k" * 20})

    assert settings.secret_key == "k" * 20


def test_short_secrets_in_files_are_refused_in_production(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("short")
    environment = {
        "HEADRACE_ENV": "production",
        "HEADRACE_AUTH": "token",
        "HEADRACE_SECRET_KEY_FILE": str(tmp_path / "secret"),
    }

    with pytest.raises(SettingsError, match="HEADRACE_SECRET_KEY has fewer than 16 characters"):
        read_settings(environment)
