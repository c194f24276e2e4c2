"""Environment variables that a job is handed in a file: as Ray hands them they stand in its logs.

A copy of this folder, with the file, is sent with a job under the name ``segtransfer_variables``.
"""

import json
import os
from pathlib import Path

FILE = "variables.json"


def hand_over() -> None:
    """Set the variables in this process; Ray calls this in every worker of the job."""
    os.environ.update(json.loads(Path(__file__).with_name(FILE).read_text()))
