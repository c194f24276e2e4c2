"""Jobs of a Ray cluster on the terminal."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console

if TYPE_CHECKING:
    from segtransfer.jobs.client import JobDetails


def print_job(details: "JobDetails", console: Console) -> None:
    """Print id, state, exit code, times and command; nothing of the environment.

    Args:
        details: The job, as Ray describes it.
        console: The terminal.
    """
    code = details.driver_exit_code
    state = details.status.value.lower() + ("" if code is None else f", exit code {code}")
    console.print(f"Job {details.submission_id}: {state}", highlight=False)
    for event, milliseconds in (("began", details.start_time), ("ended", details.end_time)):
        if milliseconds:
            console.print(f"{event}: {datetime.fromtimestamp(milliseconds / 1000):%F %T}")
    console.print(f"command: {details.entrypoint}", highlight=False, markup=False)


def job_facts(details: "JobDetails") -> dict[str, Any]:
    """Return id, state, exit code, times (ISO 8601) and command; nothing of the environment.

    Args:
        details: The job, as Ray describes it.

    Returns:
        ``id``, ``state`` (lower case), ``exit_code``, ``began``, ``ended`` and ``command``; None
        for an unknown value.
    """
    times = {"began": details.start_time, "ended": details.end_time}
    return {
        "id": details.submission_id,
        "state": details.status.value.lower(),
        "exit_code": details.driver_exit_code,
        **{
            event: datetime.fromtimestamp(milliseconds / 1000).isoformat() if milliseconds else None
            for event, milliseconds in times.items()
        },
        "command": details.entrypoint,
    }
