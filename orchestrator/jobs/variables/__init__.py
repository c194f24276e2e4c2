"""Environment variables of a job, in a file, because Ray writes its own variables to its logs.

A copy of this folder, with the file, is uploaded with a job as package ``segtransfer_variables``.
"""

import json
import os
from pathlib import Path

FILE = "variables.json"


def hand_over() -> None:
    """Set the variables in this process; Ray calls the function in every worker of the job."""
    os.environ.update(json.loads(Path(__file__).with_name(FILE).read_text()))
