"""The shipped alert rules and the dashboard name only series and labels that the service exports."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import promql_parser
import pytest
import yaml
from msgspec import Struct

from headrace.settings import Settings
from support.monitored import families_of, monitored_service, scrape_after_work

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())["groups"][0]["rules"]
DASHBOARD = msgspec.json.decode((DEPLOY / "grafana" / "headrace.json").read_bytes())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
# Prometheus adds these to everything that it scrapes.
TARGET_LABELS = {"instance", "job"}
# Values of labels that this test does not bring about.
RARE_VALUES = {("state", "running")}


def expressions() -> list[str]:
    shown = [target["expr"] for panel in PANELS for target in panel["targets"]]
    variables = [
        f"group by (pipeline) ({match[1]}) == group by ({match[2]}) ({match[1]})"
        for variable in DASHBOARD["templating"]["list"]
        if (match := re.fullmatch(r"label_values\((\w+), (\w+)\)", variable.get("definition", "")))
    ]
    return [rule["expr"] for rule in RULES] + shown + variables


class Use(Struct, frozen=True):
    """A series as an expression uses it: with labels that it filters or groups by."""

    name: str
    labels: frozenset[str]
    values: frozenset[tuple[str, str]]


def uses_of(node: Any, grouping: frozenset[str] = frozenset()) -> Iterator[Use]:
    """Yield each series below *node*; *grouping* are the labels by which it is grouped."""
    match node:
        case promql_parser.VectorSelector():
            matchers = node.matchers.matchers
            labels = frozenset(matcher.name for matcher in matchers) | grouping
            exact = frozenset(
                (matcher.name, value)
                for matcher in matchers
                if matcher.op == promql_parser.MatchOp.Equal or re.fullmatch(r"[\w|]+", matcher.value)
                for value in matcher.value.split("|")
            )
            yield Use(str(node.name), labels, exact)
        case promql_parser.MatrixSelector():
            yield from uses_of(node.vector_selector, grouping)
        case promql_parser.AggregateExpr():
            labels = frozenset(node.modifier.labels) if node.modifier is not None else frozenset()
            yield from uses_of(node.expr, grouping | labels)
        case promql_parser.BinaryExpr():
            yield from uses_of(node.lhs, grouping)
            yield from uses_of(node.rhs, grouping)
        case promql_parser.Call():
            for argument in node.args:
                yield from uses_of(argument, grouping)
        case promql_parser.ParenExpr() | promql_parser.SubqueryExpr() | promql_parser.UnaryExpr():
            yield from uses_of(node.expr, grouping)
        case _:
            assert isinstance(node, promql_parser.NumberLiteral), node


def parsed_uses(expression: str) -> list[Use]:
    filled = expression.replace("$__rate_interval", "5m").replace("$pipeline", ".*")
    assert "$" not in filled
    return list(uses_of(promql_parser.parse(filled)))


@pytest.fixture(scope="module")
async def exported(module_settings: Settings) -> dict[str, list[dict[str, str]]]:
    """The labels of each series, by its name, of an API and a worker that did some work."""
    async with monitored_service(module_settings) as service:
        texts = await scrape_after_work(service)
    labels: dict[str, list[dict[str, str]]] = {}
    for text in texts.values():
        for family in families_of(text).values():
            for sample in family.samples:
                labels.setdefault(sample.name, []).append(dict(sample.labels))
    return labels


@pytest.mark.parametrize("expression", expressions())
def test_every_series_and_label_of_an_expression_is_exported(
    expression: str, exported: dict[str, list[dict[str, str]]]
) -> None:
    uses = parsed_uses(expression)

    assert uses or expression == "vector(0)"
    for use in uses:
        assert use.name in exported
        assert use.labels - TARGET_LABELS <= exported[use.name][0].keys()
        for label, value in use.values - RARE_VALUES:
            if label not in TARGET_LABELS:
                assert value in {labels[label] for labels in exported[use.name]}


def test_an_expression_with_an_unknown_label_would_be_found() -> None:
    (use,) = parsed_uses('sum by (wrong) (rate(headrace_x_total{odd="1", even=~"2|3"}[5m] offset 1d)) > 2')

    assert use.name == "headrace_x_total"
    assert use.labels == {"wrong", "odd", "even"}
    assert use.values == {("odd", "1"), ("even", "2"), ("even", "3")}


def test_there_is_a_rule_for_each_of_eight_troubles_with_what_to_do() -> None:
    assert [rule["alert"] for rule in RULES] == [
        "HeadraceQueueIsOld",
        "HeadraceVersionIsUnserved",
        "HeadraceAttemptsAreLost",
        "HeadraceLoopIsLate",
        "HeadraceTablesGrow",
        "HeadraceFailuresJump",
        "HeadraceHasNoWorker",
        "HeadracePostgresConnectionsRunOut",
    ]
    for rule in RULES:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"].keys() == {"summary", "description"}


def test_the_dashboard_shows_every_series_of_ours(exported: dict[str, list[dict[str, str]]]) -> None:
    shown = {use.name for expression in expressions() for use in parsed_uses(expression)}
    ours = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exported if name.startswith("headrace_")}

    assert ours == {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown if "headrace_" in name}


def test_the_panels_of_the_dashboard_do_not_overlap_and_have_their_own_ids() -> None:
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]

    assert len(cells) == len(set(cells))
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert [panel["title"] for panel in PANELS if not panel["description"]] == []


def test_numbers_of_the_dashboard_turn_red_where_their_alert_does() -> None:
    """Grafana colours a number without thresholds red from 80 on, and 0 workers green."""
    steps = {
        panel["title"]: [
            (step["value"], step["color"]) for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        ]
        for panel in PANELS
        if panel["type"] == "stat"
    }
    queue_is_old, has_no_worker = (RULES[index]["expr"] for index in (0, 6))

    assert all(values[0][0] is None for values in steps.values())
    assert steps["Oldest due job"][-1] == (int(queue_is_old.split("> ")[1]), "red")
    assert "headrace_workers) == 0" in has_no_worker
    assert steps["Workers"] == [(None, "red"), (1, "green")]
    assert all("red" not in str(steps[title]) for title in ("Due jobs", "Running jobs"))
