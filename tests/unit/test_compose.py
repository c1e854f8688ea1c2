"""compose.yaml runs nothing without authentication, and gives no container more rights than it needs."""

import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.adapters.connection_counts import OF_A_WORKER, of_an_api
from headrace.api.auth.authentication import EMAIL_HEADER, NAME_HEADERS
from headrace.api.auth.local_mode import RemoteRefusedError, refuse_remote
from headrace.settings import SettingsError, explain_unknown_variables, read_settings

ROOT = Path(__file__).parents[2]
COMPOSE = msgspec.yaml.decode((ROOT / "compose.yaml").read_bytes())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("migrate", "api", "worker")
# The tools of the project write to the sources.
TOOLS = "app"
LONG_RUNNING = sorted(SERVICES.keys() - {"secrets", "migrate", TOOLS})
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


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """The secrets that `make compose-secrets` writes."""
    write_secrets(tmp_path / "secrets")
    return tmp_path / "secrets"


def write_secrets(folder: Path) -> str:
    command = ["sh", str(ROOT / "deploy" / "compose-secrets.sh"), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def with_secrets(environment: dict[str, str], folder: Path) -> dict[str, str]:
    """Return *environment* with the files of *folder* in the place of those in a container."""
    return {name: value.replace("/secrets/", f"{folder}/") for name, value in environment.items()}


@pytest.mark.parametrize("service", sorted(SERVICES.keys() - {TOOLS, "secrets"}))
def test_containers_have_no_capabilities_and_cannot_change_themselves(service: str) -> None:
    container = SERVICES[service]

    assert container["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in container["security_opt"]
    assert container["read_only"] is True
    assert not {"privileged", "cap_add", "devices", "network_mode", "pid"} & container.keys()


def test_the_container_that_hands_out_secrets_can_do_nothing_else() -> None:
    container = SERVICES["secrets"]

    assert container["cap_drop"] == ["ALL"]
    assert container["cap_add"] == ["CHOWN", "DAC_READ_SEARCH"]
    assert "no-new-privileges:true" in container["security_opt"]
    assert (container["read_only"], container["network_mode"], container["restart"]) == (True, "none", "no")
    assert not {"ports", "environment", "privileged"} & container.keys()


def test_the_container_of_the_tools_has_no_capabilities() -> None:
    assert SERVICES[TOOLS]["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in SERVICES[TOOLS]["security_opt"]
    assert not {"privileged", "cap_add", "devices", "network_mode", "pid", "volumes"} & SERVICES[TOOLS].keys()


@pytest.mark.parametrize("service", SERVICES)
def test_containers_see_of_this_machine_only_configuration_that_they_cannot_change(service: str) -> None:
    binds = [
        name
        for name in SERVICES[service].get("volumes", ())
        if name.startswith((".", "/", "~")) and ":" in name
    ]

    assert [name for name in binds if not re.fullmatch(r"\./(deploy/\S+|secrets):/\S+:ro,z", name)] == []
    assert ("./secrets" in str(binds)) == (service == "secrets")


@pytest.mark.parametrize("service", sorted(SERVICES.keys() - {TOOLS, "secrets"}))
def test_containers_can_write_temporary_files(service: str) -> None:
    container = SERVICES[service]

    targets = [volume.split(":")[1] for volume in container.get("volumes", ())]
    assert "/tmp" in [*container.get("tmpfs", ()), *targets]  # noqa: S108


def test_every_volume_has_a_name_so_that_containers_leave_none_behind() -> None:
    named = {
        volume.split(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", ())
        if not volume.startswith("./")
    }

    assert named == COMPOSE["volumes"].keys()


def test_postgresql_has_connections_for_the_processes_that_the_page_starts() -> None:
    most = int(re.findall(r"max_connections=(\d+)", " ".join(SERVICES["postgres"]["command"]))[0])
    page = (ROOT / "docs" / "deployment.md").read_text()
    apis, workers = (max(map(int, re.findall(rf"--scale {name}=(\d+)", page))) for name in ("api", "worker"))
    of_api = of_an_api(read_settings({}).database_connections)
    text = re.findall(r"enough for (\d+) APIs and (\d+) workers", (ROOT / "compose.yaml").read_text())[0]

    # A few connections are reserved, and the migration and `headrace doctor` need some.
    for needed in (apis * of_api + workers * OF_A_WORKER, int(text[0]) * of_api + int(text[1]) * OF_A_WORKER):
        assert needed <= most - 10


@pytest.mark.parametrize("service", SERVICES)
def test_containers_do_not_run_as_root(service: str) -> None:
    user = str(SERVICES[service].get("user", "10001"))

    assert (user.partition(":")[0] == "0") == (service == "secrets")
    assert re.fullmatch(r"[0-9]+(:[0-9]+)?", user)


@pytest.mark.parametrize("service", LONG_RUNNING)
def test_containers_have_a_limit_of_memory(service: str) -> None:
    assert re.fullmatch(r"[0-9]+[mg]", SERVICES[service]["mem_limit"])


def test_each_secret_belongs_to_the_user_of_the_container_that_reads_it() -> None:
    readers = [line.split() for line in SERVICES["secrets"]["command"][1:]]
    targets = dict(volume.split(":") for volume in SERVICES["secrets"]["volumes"][1:])

    assert sorted(targets.values()) == sorted(folder for folder, *_ in readers)
    for volume, folder in targets.items():
        (user,) = (user for target, user, *_ in readers if target == folder)
        services = [
            name
            for name, service in SERVICES.items()
            if f"{volume}:/secrets:ro" in service.get("volumes", ())
        ]
        users = {str(SERVICES[name].get("user", "10001")).partition(":")[0] for name in services}
        assert (users, services != []) == ({user}, True), volume


def test_ports_are_published_on_this_machine_only() -> None:
    ports = {name: container["ports"] for name, container in SERVICES.items() if "ports" in container}

    assert [port for name in ports for port in ports[name] if not port.startswith("127.0.0.1:")] == []
    assert sorted(ports) == ["grafana", "oauth2-proxy", "proxy"]


def test_nobody_outside_can_send_a_header_that_names_a_user() -> None:
    """The proxy adds its secret to these requests, so the API would believe such a header."""
    text = (ROOT / "deploy" / "haproxy" / "haproxy.cfg").read_text()
    outside = text.split("frontend outside")[1].split("\n\n")[0]
    removed = {name.lower() for name in re.findall(r"http-request del-header (\S+)$", outside, re.MULTILINE)}

    assert {*NAME_HEADERS, EMAIL_HEADER} <= removed


def test_nothing_of_a_profile_runs_by_default() -> None:
    optional = {
        name: container["profiles"] for name, container in SERVICES.items() if "profiles" in container
    }

    assert optional == {
        "oauth2-proxy": ["oauth2-proxy"],
        "prometheus": ["monitoring"],
        "grafana": ["monitoring"],
        TOOLS: ["dev"],
    }


@pytest.mark.parametrize("service", OURS)
def test_no_part_starts_without_a_secret_key_of_its_own(service: str, secrets: Path) -> None:
    environment = with_secrets(environment_of(service, {}), secrets)
    assert read_settings(environment).env == "production"

    (secrets / "secret_key").write_text("change-me")
    with pytest.raises(SettingsError, match="HEADRACE_SECRET_KEY is missing or still the sample value"):
        read_settings(environment)
    (secrets / "secret_key").unlink()
    with pytest.raises(SettingsError, match="HEADRACE_SECRET_KEY_FILE"):
        read_settings(environment)


def test_the_api_does_not_start_in_local_mode_whatever_env_says(secrets: Path) -> None:
    variables = {"HEADRACE_ENV": "local", "HEADRACE_AUTH": "local", "HEADRACE_ALLOW_REMOTE": "true"}
    command = SERVICES["api"]["command"]
    host = command[command.index("--host") + 1]
    environment = with_secrets(environment_of("api", variables), secrets)

    with pytest.raises(SettingsError, match="HEADRACE_AUTH"):
        read_settings(environment)
    with pytest.raises(RemoteRefusedError):
        refuse_remote(host, read_settings(environment | {"HEADRACE_ENV": "local"}))


@pytest.mark.parametrize("auth", ["proxy", "token"])
def test_the_parts_start_with_authentication(auth: str, secrets: Path) -> None:
    variables = {"HEADRACE_AUTH": auth if auth == "proxy" else ""}

    for service in OURS:
        environment = with_secrets(environment_of(service, variables), secrets)
        settings = read_settings(environment)
        assert settings.auth == auth
        refuse_remote("0.0.0.0", settings)  # noqa: S104
        assert explain_unknown_variables(settings, environment) is None


def test_a_worker_is_killed_only_after_its_own_time_to_stop(secrets: Path) -> None:
    settings = read_settings(with_secrets(environment_of("worker", {}), secrets))

    assert settings.stop_seconds < float(SERVICES["worker"]["stop_grace_period"].removesuffix("s"))


def test_the_secrets_are_random_and_readable_by_their_owner_only(secrets: Path, tmp_path: Path) -> None:
    write_secrets(tmp_path / "other")

    files = sorted(secrets.iterdir())
    named = {name for line in SERVICES["secrets"]["command"][1:] for name in line.split()[2:]}
    assert {file.name for file in files} == named - {"oauth2_client_secret"}  # the provider issues that one
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert re.fullmatch(r"[0-9a-f]{32}|[0-9a-f]{64}", file.read_text())
        assert file.read_text() != (tmp_path / "other" / file.name).read_text()
    assert len({file.read_text() for file in files}) == len(files)


def test_a_secret_that_exists_is_never_overwritten(secrets: Path) -> None:
    (secrets / "database_password").write_text("mine")
    (secrets / "redis_password").unlink()
    before = {file.name: file.read_text() for file in secrets.iterdir()}

    write_secrets(secrets)

    after = {file.name: file.read_text() for file in secrets.iterdir()}
    assert len(after.pop("redis_password")) == 64
    assert after == before


def test_secrets_are_neither_committed_nor_part_of_an_image() -> None:
    assert "/secrets/" in (ROOT / ".gitignore").read_text().splitlines()
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in allowed
    assert not [line for line in allowed if line.startswith("!secrets") or line in ("!.", "!*")]


def test_a_secret_that_is_gone_is_removed_from_its_readers_as_well(secrets: Path, tmp_path: Path) -> None:
    program = ROOT / "deploy" / "container" / "headrace-secrets"
    folder = tmp_path / "reader"
    folder.mkdir()
    command = ["bash", str(program), str(secrets), f"{folder} {os.getuid()} redis_password grafana_password"]

    subprocess.run(command, check=True, timeout=60)
    first = {file.name for file in folder.iterdir()}
    (secrets / "grafana_password").unlink()
    subprocess.run(command, check=True, timeout=60)

    assert first == {"redis_password", "grafana_password"}
    assert [file.name for file in folder.iterdir()] == ["redis_password"]


def test_the_program_that_hands_out_secrets_says_what_to_do_if_there_are_none(tmp_path: Path) -> None:
    program = ROOT / "deploy" / "container" / "headrace-secrets"

    refused = subprocess.run(
        ["bash", program, tmp_path], capture_output=True, text=True, check=False, timeout=60
    )

    assert refused.returncode == 78
    assert "make compose-secrets" in refused.stderr
