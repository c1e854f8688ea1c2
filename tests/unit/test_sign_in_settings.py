"""Settings of login providers."""

import pytest

from headrace.settings import SettingsError, read_settings

SAFE = {"HEADRACE_AUTH": "token", "HEADRACE_SECRET_KEY": "x" * 32}


def provider(name: str, **fields: str) -> dict[str, str]:
    variables = {
        f"HEADRACE_PROVIDER_{name.upper()}_{field.upper()}": value for field, value in fields.items()
    }
    return {**SAFE, "HEADRACE_PROVIDERS": name, **variables}


def test_known_providers_need_only_a_client_id() -> None:
    for name in ("github", "tone3000"):
        [configured] = read_settings(provider(name, client_id="id")).provider_settings

        assert (configured.name, configured.issuer) == (name, None)


def test_every_other_provider_needs_an_issuer() -> None:
    with pytest.raises(SettingsError, match="HEADRACE_PROVIDER_CORP_ISSUER is not set"):
        read_settings(provider("corp", client_id="id"))

    issuer = "https://id.example.com/realms/main"
    [configured] = read_settings(provider("corp", client_id="id", issuer=issuer)).provider_settings

    assert configured.issuer == issuer


@pytest.mark.parametrize(
    "issuer",
    ["id.example.com", "ftp://id.example.com", "https://", "https://a?b=c", "https://a#b", "http://[a"],
)
def test_an_issuer_that_is_not_a_url_is_refused(issuer: str) -> None:
    with pytest.raises(SettingsError, match="HEADRACE_PROVIDER_CORP_ISSUER"):
        read_settings(provider("corp", client_id="id", issuer=issuer))


def test_production_refuses_an_issuer_over_http() -> None:
    plain = provider("corp", client_id="id", issuer="http://id.example.com")

    assert read_settings(plain).provider_settings[0].issuer == "http://id.example.com"
    with pytest.raises(SettingsError, match="HEADRACE_PROVIDER_CORP_ISSUER"):
        read_settings({**plain, "HEADRACE_ENV": "production"})


@pytest.mark.parametrize(
    "url",
    [
        "jobs.example.com",
        "https://jobs.example.com/",
        "ftp://a",
        "https://a/b/",
        "https://a//b",
        "https://a/../b",
        "https://a/b?c=d",
        "https://a/b#c",
        "https://a/b c",
        'https://a/b"c',
    ],
)
def test_a_public_url_is_an_origin_with_or_without_a_path(url: str) -> None:
    with pytest.raises(SettingsError, match="HEADRACE_PUBLIC_URL"):
        read_settings({"HEADRACE_PUBLIC_URL": url})

    for valid in ("https://a.b:8443", "https://a.b/headrace", "http://[::1]:8000/team-1/v1.0"):
        assert read_settings({"HEADRACE_PUBLIC_URL": valid}).public_url == valid
