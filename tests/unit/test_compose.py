"""compose.yaml runs nothing without authentication, and gives no container more rights than it needs."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.api.auth.local_mode import RemoteRefusedError, refuse_remote
from headrace.settings import SettingsError, read_settings

ROOT = Path(__file__).parents[2]
COMPOSE = msgspec.yaml.decode((ROOT / "compose.yaml").read_bytes())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("migrate", "api", "worker")
_VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


class MissingVariableError(Exception):
    """Compose stops because a variable that must be set is not set."""


def substitute(text: str, variables: dict[str, str]) -> str:
    """Substitute `${NAME}`, `${NAME:-default}` and `${NAME:?message}` as compose does."""

    def value_of(match: re.Match[str]) -> str:
        name, operator, rest = match.groups()
        if variables.get(name):
            return variables[name]
        if operator == "?":
            raise MissingVariableError(rest)
        return rest or ""

    return _VARIABLE.sub(value_of, text)


def environment_of(service: str, variables: dict[str, str]) -> dict[str, str]:
    """Return the environment of a service, beside a file `.env` with *variables*."""
    own = {name: substitute(value, variables) for name, value in SERVICES[service]["environment"].items()}
    return variables | own


@pytest.mark.parametrize("service", SERVICES)
def test_containers_have_no_capabilities_and_cannot_change_themselves(service: str) -> None:
    container = SERVICES[service]

    assert container["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in container["security_opt"]
    assert container["read_only"] is True
    assert not {"privileged", "cap_add", "devices", "network_mode", "pid"} & container.keys()
    assert not [
        volume for volume in container.get("volumes", ()) if volume.startswith((".", "/var/run", "~"))
    ]


@pytest.mark.parametrize("service", SERVICES)
def test_containers_can_write_temporary_files(service: str) -> None:
    container = SERVICES[service]

    assert "/tmp" in [*container.get("tmpfs", ()), *container.get("volumes", ())]  # noqa: S108


@pytest.mark.parametrize("service", SERVICES)
def test_containers_do_not_run_as_root(service: str) -> None:
    containerfile = (ROOT / "Containerfile").read_text()

    assert SERVICES[service].get("user", "root") != "root" or "\nUSER headrace\n" in containerfile
    assert service in OURS or "user" in SERVICES[service]


def test_ports_are_published_on_this_machine_only() -> None:
    ports = [port for container in SERVICES.values() for port in container.get("ports", ())]

    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []
    assert len(ports) == 1


@pytest.mark.parametrize("service", OURS)
def test_no_part_starts_without_a_secret_key_of_its_own(service: str) -> None:
    with pytest.raises(MissingVariableError, match="openssl"):
        environment_of(service, {})
    with pytest.raises(SettingsError, match="HEADRACE_SECRET_KEY"):
        read_settings(environment_of(service, {"HEADRACE_SECRET_KEY": "change-me"}))


def test_the_api_does_not_start_in_local_mode_whatever_env_says() -> None:
    variables = {"HEADRACE_SECRET_KEY": "k" * 32, "HEADRACE_AUTH": "local", "HEADRACE_ALLOW_REMOTE": "true"}
    command = SERVICES["api"]["command"]
    host = command[command.index("--host") + 1]

    settings = read_settings(environment_of("api", variables))

    assert settings.auth == "local"
    with pytest.raises(RemoteRefusedError):
        refuse_remote(host, settings)


@pytest.mark.parametrize("auth", ["proxy", "token"])
def test_the_parts_start_with_authentication(auth: str) -> None:
    variables = {
        "HEADRACE_SECRET_KEY": "k" * 32,
        "HEADRACE_AUTH": auth if auth == "proxy" else "",
        "HEADRACE_PROXY_SECRET": "s" * 32,
    }

    for service in OURS:
        settings = read_settings(environment_of(service, variables))
        assert settings.auth == auth
        refuse_remote("0.0.0.0", settings)  # noqa: S104
