"""A saved view for MLflow's UI: attacks sorted by transfer, their matrices side by side.

MLflow 3.15 and later stores a saved view as JSON in a tag of the experiment. Older versions ignore
the tag.
"""

import json
from typing import Any

from segtransfer.tasks.urls import without_credentials

VIEW = "segtransfer"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
MATRIX_IMAGE = "matrix"  # name of the matrix's image in every attack's run

TRANSFER_METRIC = "mean_drop/cross_backbone"
COLUMN_WIDTHS = {
    f"metrics.`{TRANSFER_METRIC}`": 195,
    "metrics.`mean_miou/cross_backbone`": 185,
    "metrics.`mean_miou/same_backbone`": 185,
    "metrics.`mean_miou/diagonal`": 150,
    "metrics.`perturbation/rms`": 120,
    "metrics.`cost/forward_equivalents`": 120,
    "tags.`segtransfer.settings`": 420,
    "attributes.`Dataset`": 220,
}  # of columns, in pixels
PARALLEL_AXES = [
    "perturbation/linf",
    "perturbation/rms",
    "cost/forward_equivalents",
    TRANSFER_METRIC,
]


def saved_view(created: int) -> str:
    """Return the value of ``VIEW_TAG``: runs of attacks only, best transfer first.

    Args:
        created: The time of creation, in milliseconds since 1970.

    Returns:
        A JSON text.
    """
    matrices, transfer = f"{VIEW}-matrices", f"{VIEW}-transfer"
    state = {
        "searchFilter": "tags.`segtransfer.attack` LIKE '%'",
        "orderByKey": f"metrics.`{TRANSFER_METRIC}`",
        "orderByAsc": False,
        "selectedColumns": list(COLUMN_WIDTHS),
        "columnOrder": list(COLUMN_WIDTHS),
        "columnWidths": COLUMN_WIDTHS,
        "compareRunSections": [
            _section(matrices, "Transfer matrices", columns=1, cardHeight=1050),
            _section(transfer, "Transfer", columns=2, cardHeight=360),
        ],
        "compareRunCharts": [
            _chart(matrices, "IMAGE", imageKeys=[MATRIX_IMAGE], step=0, showRunParams=False),
            _chart(transfer, "BAR", metricKey=TRANSFER_METRIC),
            _chart(transfer, "PARALLEL", selectedParams=["attack"], selectedMetrics=PARALLEL_AXES),
        ],
        "isAccordionReordered": True,
    }
    view = {"name": "Attacks by transfer", "createdAt": created, "state": json.dumps(state)}
    return json.dumps(view)


def address(uri: str, experiment_id: str) -> str:
    """Return the view's address in the UI.

    Args:
        uri: The tracking URI. For a local file, the address is that of a server at MLflow's default
            port 5000.
        experiment_id: The id of the MLflow experiment.
    """
    server = uri if uri.startswith(("http://", "https://")) else "http://127.0.0.1:5000"
    runs = f"#/experiments/{experiment_id}/runs?workflowType=machine_learning"
    view = f"viewStateShareKey={VIEW}&compareRunsMode=CHART"
    return f"{without_credentials(server).rstrip('/')}/{runs}&{view}"


def _section(uuid: str, name: str, **fields: Any) -> dict[str, Any]:
    shown = {"display": True, "isReordered": True, "deleted": False, "isGenerated": False}
    return {"uuid": uuid, "name": name, **shown, **fields}


def _chart(section: str, kind: str, **fields: Any) -> dict[str, Any]:
    return {
        "uuid": f"{VIEW}-{kind.lower()}",
        "type": kind,
        "runsCountToCompare": 10,  # a grid of images holds no more
        "metricSectionId": section,
        "deleted": False,
        "isGenerated": False,
        **fields,
    }
