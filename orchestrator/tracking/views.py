"""What MLflow's UI opens with: attacks by how they transfer, their matrices side by side."""

import json
from typing import Any

VIEW = "segtransfer"
TAG = f"mlflow.sharedViewState.{VIEW}"  # of an experiment: where MLflow keeps views, since 3.15
PICTURE = "matrix"  # under which every attack's run logs its matrix as a picture

TRANSFER = "mean_drop/cross_backbone"
COLUMNS = (
    f"metrics.`{TRANSFER}`",
    "metrics.`mean_miou/cross_backbone`",
    "metrics.`mean_miou/same_backbone`",
    "metrics.`mean_miou/diagonal`",
    "metrics.`perturbation/rms`",
    "metrics.`cost/forward_equivalents`",
    "tags.`segtransfer.settings`",
    "attributes.`Dataset`",
)


def saved_view(created: int) -> str:
    """The value of ``TAG``; ``created`` in milliseconds since 1970.

    Runs of attacks alone, the best first; pictures show ten runs at most.
    """
    metrics = [TRANSFER, "mean_drop/same_backbone", "mean_drop/diagonal"]
    how = ["perturbation/rms", "cost/forward_equivalents"]
    charts = [
        _chart("IMAGE", "Transfer matrices", imageKeys=[PICTURE], step=0, showRunParams=False),
        _chart("BAR", "Transfer to other backbones, points of mIoU", metricKey=TRANSFER),
        _chart(
            "PARALLEL",
            "eps, size, cost, white box, transfer",
            selectedParams=["eps"],
            selectedMetrics=[*how, *reversed(metrics)],
            showAllRuns=False,
        ),
    ]
    state = {
        "searchFilter": "tags.`segtransfer.attack` LIKE '%'",
        "orderByKey": COLUMNS[0],
        "orderByAsc": False,
        "selectedColumns": COLUMNS,
        "columnOrder": COLUMNS,
        "runsHiddenMode": "FIRST_10_RUNS",
        "compareRunSections": [
            {"uuid": VIEW, "name": "Transfer", "display": True, "isReordered": True,
             "deleted": False, "isGenerated": False},
        ],
        "compareRunCharts": charts,
        "isAccordionReordered": True,
    }  # fmt: skip
    name = "Attacks by transfer"
    return json.dumps({"name": name, "createdAt": created, "state": json.dumps(state)})


def place(experiment_id: str, *, charts: bool = True) -> str:
    """Where in the UI the view is: what follows the server's address."""
    mode = "&compareRunsMode=CHART" if charts else ""
    return f"#/experiments/{experiment_id}/runs?viewStateShareKey={VIEW}{mode}"


def _chart(kind: str, name: str, **fields: Any) -> dict[str, Any]:
    return {
        "uuid": f"{VIEW}-{kind.lower()}",
        "type": kind,
        "displayName": name,
        "runsCountToCompare": 10,
        "metricSectionId": VIEW,
        "deleted": False,
        "isGenerated": False,
        **fields,
    }
