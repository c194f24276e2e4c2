"""Artifacts of MLflow runs: tables, and images with their thumbnails."""

import io
import json
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from PIL import Image

THUMBNAIL_DPI = 256  # MLflow shows thumbnails at a quarter of their size


def log_table(client: MlflowClient, run: Run, frame: pd.DataFrame, name: str) -> None:
    """Log a table, or replace the run's table of the same name.

    MLflow's ``log_table`` would append to an existing table.

    Args:
        client: MLflow's client.
        run: The run.
        frame: The table.
        name: The name of the artifact, ``*.json``.
    """
    if any(item.path == name for item in client.list_artifacts(run.info.run_id)):
        content = json.loads(frame.to_json(orient="split", index=False))
        client.log_dict(run.info.run_id, content, name)
    else:
        client.log_table(run.info.run_id, frame, name)


def log_image(client: MlflowClient, run: Run, name: str, whole: Path, small: Figure) -> None:
    """Log an image as a file, and its thumbnail for the UI's image grid.

    Args:
        client: MLflow's client.
        run: The run.
        name: The image's name without ending, equal in all runs that the grid compares.
        whole: The file of the image.
        small: The thumbnail; the grid shows at most 256 pixels of width.
    """
    client.log_image(run.info.run_id, Image.open(whole), artifact_file=f"{name}.png")
    file = io.BytesIO()
    small.savefig(file, dpi=THUMBNAIL_DPI)
    client.log_image(run.info.run_id, Image.open(file), key=name)
