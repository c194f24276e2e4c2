"""What MLflow's UI opens with: attacks by how they transfer, their matrices side by side.

MLflow (3.15 and later) keeps what "Save view" saved in a tag of the experiment, as JSON; an older
one ignores it.
"""

import json
from typing import Any

VIEW = "segtransfer"
TAG = f"mlflow.sharedViewState.{VIEW}"
PICTURE = "matrix"  # under which every attack's run logs its matrix as a picture

TRANSFER = "mean_drop/cross_backbone"
WIDTHS = {
    f"metrics.`{TRANSFER}`": 195,
    "metrics.`mean_miou/cross_backbone`": 185,
    "metrics.`mean_miou/same_backbone`": 185,
    "metrics.`mean_miou/diagonal`": 150,
    "metrics.`perturbation/rms`": 120,
    "metrics.`cost/forward_equivalents`": 120,
    "tags.`segtransfer.settings`": 420,
    "attributes.`Dataset`": 220,
}  # of columns, in pixels
PARALLEL = ["perturbation/rms", "cost/forward_equivalents", TRANSFER]


def saved_view(created: int) -> str:
    """The value of ``TAG``; ``created`` in milliseconds since 1970.

    Runs of attacks alone, those that transfer best first. A grid of pictures takes ten runs.
    """
    matrices, transfer = f"{VIEW}-matrices", f"{VIEW}-transfer"
    state = {
        "searchFilter": "tags.`segtransfer.attack` LIKE '%'",
        "orderByKey": f"metrics.`{TRANSFER}`",
        "orderByAsc": False,
        "selectedColumns": list(WIDTHS),
        "columnOrder": list(WIDTHS),
        "columnWidths": WIDTHS,
        "compareRunSections": [
            _section(matrices, "Transfer matrices", columns=1, cardHeight=1050),
            _section(transfer, "Transfer", columns=2, cardHeight=360),
        ],
        "compareRunCharts": [
            _chart(matrices, "IMAGE", imageKeys=[PICTURE], step=0, showRunParams=False),
            _chart(transfer, "BAR", metricKey=TRANSFER),
            _chart(transfer, "PARALLEL", selectedParams=["eps"], selectedMetrics=PARALLEL),
        ],
        "isAccordionReordered": True,
    }
    view = {"name": "Attacks by transfer", "createdAt": created, "state": json.dumps(state)}
    return json.dumps(view)


def place(experiment_id: str) -> str:
    """Where in the UI the view is: what follows the server's address."""
    runs = f"#/experiments/{experiment_id}/runs?workflowType=machine_learning"
    return f"{runs}&viewStateShareKey={VIEW}&compareRunsMode=CHART"


def _section(uuid: str, name: str, **fields: Any) -> dict[str, Any]:
    shown = {"display": True, "isReordered": True, "deleted": False, "isGenerated": False}
    return {"uuid": uuid, "name": name, **shown, **fields}


def _chart(section: str, kind: str, **fields: Any) -> dict[str, Any]:
    return {
        "uuid": f"{VIEW}-{kind.lower()}",
        "type": kind,
        "runsCountToCompare": 10,
        "metricSectionId": section,
        "deleted": False,
        "isGenerated": False,
        **fields,
    }
