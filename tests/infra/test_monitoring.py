"""The Grafana dashboard draws what the driver counts, all of it, and fits on its page."""

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from segtransfer.runtime.metrics import INSTRUMENTS, Instrument
from segtransfer.runtime.status import SLOT_STATES, TASK_STATES

FOLDER = Path(__file__).resolve().parents[2] / "infra/monitoring"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "segtransfer.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
ADDED_BY_RAY = {"SessionName"}
ADDED_BY_PROMETHEUS = {"le"}


def exported(metric: Instrument) -> list[str]:
    """A metric's names as Prometheus has them."""
    endings = ["_bucket", "_sum", "_count"] if metric.kind == "histogram" else [""]
    return [f"ray_{metric.name}{ending}" for ending in endings]


METRIC_OF = {name: metric for metric in INSTRUMENTS for name in exported(metric)}


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_asks_for_what_the_driver_counts(query: str) -> None:
    asked = re.findall(r"(\w+)\{([^}]*)\}", query)
    assert asked
    assert {name for name, _ in asked} == set(re.findall(r"ray_\w+", query))
    for name, selectors in asked:
        assert name in METRIC_OF
        labels = set(re.findall(r"(\w+)[=!]~?\"", selectors))
        assert "SessionName" in labels, "the choice of a Ray session would not reach this query"
        assert labels <= {*METRIC_OF[name].labels, *ADDED_BY_RAY}
    for grouped in re.findall(r"by \(([^)]*)\)", query):
        known = {label for name, _ in asked for label in METRIC_OF[name].labels}
        assert set(grouped.split(", ")) <= known | ADDED_BY_PROMETHEUS


@pytest.mark.parametrize("query", QUERIES)
def test_brackets_of_a_query_match(query: str) -> None:
    for left, right in ("()", "{}", "[]"):
        assert query.count(left) == query.count(right)


def test_a_counter_is_drawn_as_a_rate_and_a_gauge_as_it_is() -> None:
    for query in QUERIES:
        for name in re.findall(r"(\w+)\{", query):
            rated = f"rate({name}{{" in query
            if METRIC_OF[name].kind == "gauge":
                assert not rated, query
            elif METRIC_OF[name].name != "segtransfer_retries_total":  # also shown as a sum
                assert rated, query


def test_states_in_queries_are_states_there_are() -> None:
    for states in re.findall(r'state=~"([^"]*)"', " ".join(QUERIES)):
        assert set(states.split("|")) <= {*TASK_STATES, *SLOT_STATES}


def test_every_metric_is_drawn() -> None:
    drawn = {METRIC_OF[name].name for query in QUERIES for name in re.findall(r"(\w+)\{", query)}
    assert drawn == {metric.name for metric in INSTRUMENTS}


def test_every_metric_stands_in_the_readme_with_its_labels() -> None:
    rows = re.findall(r"^\| `ray_(\w+)` \| ([^|]*)\|", (FOLDER / "README.md").read_text(), re.M)
    assert {name: labels.strip() for name, labels in rows} == {
        metric.name: ", ".join(metric.labels) for metric in INSTRUMENTS
    }


def test_panels_have_numbers_of_their_own_and_say_what_they_show() -> None:
    numbers = [panel["id"] for panel in PANELS]
    assert len(set(numbers)) == len(numbers)
    for panel in PANELS:
        assert panel["title"]
        assert panel["description"], panel["title"]


def test_panels_lie_side_by_side_within_the_page() -> None:
    def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
        at = panel["gridPos"]
        return {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}

    for panel in PANELS:
        assert all(0 <= x < 24 and y >= 0 for x, y in cells(panel)), panel["title"]
    for one, other in combinations(PANELS, 2):
        assert not cells(one) & cells(other), (one["title"], other["title"])


def test_the_data_source_is_chosen_on_the_page() -> None:
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    sources = [part["datasource"] for panel in PANELS for part in (panel, *panel["targets"])]
    sources.append(variables["session"]["datasource"])
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)
    assert variables["session"]["query"]["query"].split("(")[1].split(",")[0] in METRIC_OF
