"""Variables that look like settings but are none are explained in one line."""

import pytest

from headrace.settings import explain_unknown_variables, read_settings
from headrace.settings_names import explain_unknown

PROVIDER = {
    "HEADRACE_PROVIDERS": "github",
    "HEADRACE_PROVIDER_GITHUB_CLIENT_ID": "a",
    "HEADRACE_PROVIDER_GITHUB_CLIENT_SECRET": "b",
    "HEADRACE_AUTH": "token",
    "HEADRACE_SECRET_KEY": "0123456789abcdef",
}


def explain(environment: dict[str, str]) -> str | None:
    return explain_unknown_variables(read_settings(environment), environment)


def test_a_misspelt_setting_is_named_with_the_nearest_one() -> None:
    assert explain({"HEADRACE_PIPELINE": "x.py"}) == (
        "HEADRACE_PIPELINE is not a setting (did you mean HEADRACE_PIPELINES?)"
    )


def test_all_unknown_variables_are_in_one_line_and_those_like_nothing_have_no_suggestion() -> None:
    line = explain({"HEADRACE_PIPELINE": "x.py", "HEADRACE_ZZZZZZZZ": "1", "HEADRACE_LOG_LEVL": "info"})

    assert line == (
        "HEADRACE_LOG_LEVL is not a setting (did you mean HEADRACE_LOG_LEVEL?);"
        " HEADRACE_PIPELINE is not a setting (did you mean HEADRACE_PIPELINES?);"
        " HEADRACE_ZZZZZZZZ is not a setting"
    )


@pytest.mark.parametrize(
    "environment",
    [
        {"HEADRACE_URL": "http://a", "HEADRACE_TOKEN": "b", "HEADRACE_PORT": "8000", "PATH": "/bin"},
        PROVIDER,
        {"HEADRACE_STEP_ENV": "HEADRACE_OF_A_STEP", "HEADRACE_OF_A_STEP": "x"},
        {"HEADRACE_API_SERVICE_HOST": "10.0.0.1", "HEADRACE_API_PORT_8000_TCP_ADDR": "10.0.0.1"},
        {"HEADRACE_SERVICE_PORT_HTTP": "8000", "HEADRACE_PORT_8000_TCP": "tcp://10.0.0.1:8000"},
    ],
)
def test_variables_of_clients_providers_steps_and_kubernetes_are_known(environment: dict[str, str]) -> None:
    assert explain(environment) is None


def test_a_variable_of_a_provider_that_is_not_listed_is_unknown() -> None:
    line = explain(PROVIDER | {"HEADRACE_PROVIDER_GITLAB_CLIENT_ID": "c"})

    assert line == (
        "HEADRACE_PROVIDER_GITLAB_CLIENT_ID is not a setting"
        " (did you mean HEADRACE_PROVIDER_GITHUB_CLIENT_ID?)"
    )


def test_of_many_unknown_variables_ten_are_listed() -> None:
    line = explain_unknown([f"HEADRACE_{number:02}" for number in range(12)], {"HEADRACE_ENV"})

    assert line is not None
    assert line.count("is not a setting") == 10
    assert line.endswith("; and 2 more")
