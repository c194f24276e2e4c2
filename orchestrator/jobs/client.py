"""The jobs of a Ray cluster, over HTTP: submitted, looked at, followed, stopped."""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import aiohttp
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from segtransfer.errors import InputError
from segtransfer.jobs import DEFAULT_ADDRESS
from segtransfer.jobs.bundle import JobBundle
from segtransfer.tasks.urls import secret_part

SILENCE = 60.0  # seconds without a line: runs write one every ten, so the connection may be lost
AGAIN = 2.0  # seconds between looks at a job
PATIENCE = 600.0  # seconds that a cluster may be out of reach while its job is followed
LOST = (OSError, RuntimeError, aiohttp.ClientError)  # what a connection that breaks off raises
NOT_FOUND = 127  # a shell's exit code for a command that there is not

for _name in (
    "dashboard.modules.dashboard_sdk",
    "dashboard.modules.job.sdk",
    "_private.runtime_env.packaging",
):
    logging.getLogger(f"ray.{_name}").setLevel(logging.WARNING)


def connect(address: str) -> JobSubmissionClient:
    """A client of the cluster whose dashboard has this address; raises InputError without one."""
    if not address.startswith(("http://", "https://")):
        raise InputError(f"--address {address}: give the dashboard's URL, as {DEFAULT_ADDRESS}")
    if secret_part(address):
        raise InputError("--address holds a password; a cluster's token is read from a file")
    # Ray lets this variable, and RAY_ADDRESS, win over the address that it is given.
    os.environ["RAY_API_SERVER_ADDRESS"] = address
    with _in_sentences(address):
        return JobSubmissionClient(address)


def submit(client: JobSubmissionClient, parcel: JobBundle) -> str:
    """Send what a job is; returns its id. Raises InputError where the folder is too large."""
    with _in_sentences(client.get_address()):
        return client.submit_job(entrypoint=parcel.entrypoint, runtime_env=parcel.runtime_env())


def look(client: JobSubmissionClient, job: str) -> JobDetails:
    """A job as it stands; raises InputError where the cluster has none of that id."""
    with _in_sentences(client.get_address()):
        try:
            return client.get_job_info(job)
        except RuntimeError as error:
            if "status code 404" not in str(error):
                raise
            known = [details.submission_id for details in client.list_jobs()]
    listed = ", ".join(filter(None, known)) or "none"
    raise InputError(f"no job '{job}' is known at {client.get_address()}; there are: {listed}")


def stop(client: JobSubmissionClient, job: str) -> JobDetails:
    """Ask a job to stop, and wait until it has; one that has ended stays as it is."""
    details = look(client, job)
    if not details.status.is_terminal():
        with _in_sentences(client.get_address()):
            client.stop_job(job)
    while not details.status.is_terminal():
        time.sleep(AGAIN)
        details = look(client, job)
    return details


def follow(client: JobSubmissionClient, job: str, write: Callable[[str], object]) -> JobDetails:
    """Write a job's log as it grows, and return how the job ended.

    A connection that is lost is made anew. Raises InputError for an unknown job, RuntimeError where
    the cluster is out of reach for ten minutes.
    """
    look(client, job)
    log, heard = _Log(client, job, write), time.monotonic()
    while True:
        with suppress(*LOST):
            asyncio.run(log.tail())
        try:
            details = look(client, job)
        except InputError as error:
            if time.monotonic() - heard > PATIENCE:
                raise RuntimeError(f"job {job} may go on, but {error}") from None
        else:
            heard = time.monotonic()
            if details.status.is_terminal():
                with suppress(*LOST):
                    log.write(client.get_job_logs(job), 0)
                return details
        time.sleep(AGAIN)


class _Log:
    """A job's log, of which the server sends all whenever it is asked."""

    def __init__(
        self, client: JobSubmissionClient, job: str, write: Callable[[str], object]
    ) -> None:
        self._client, self._job, self._write = client, job, write
        self._written = 0  # characters

    async def tail(self) -> None:
        """Write what comes, until the job ends, or nothing comes for a while."""
        position, pieces = 0, self._client.tail_job_logs(self._job)
        while text := await asyncio.wait_for(anext(pieces, ""), SILENCE):
            self.write(text, position)
            position += len(text)

    def write(self, text: str, position: int) -> None:
        """Write what is new in a piece of the log that begins at ``position``."""
        new = text[max(0, self._written - position) :]
        if new:
            self._write(new)
            self._written = position + len(text)


def exit_code(details: JobDetails) -> int:
    """The exit code that stands for how a job ended: its own, as a shell would tell it."""
    if details.status == JobStatus.SUCCEEDED:
        return 0
    if details.status == JobStatus.STOPPED:
        return 143
    code = details.driver_exit_code
    if code is None:
        return 1
    return code if code >= 0 else 128 - code


def last_word(details: JobDetails) -> str:
    """What the log does not say of a job that failed; empty where it says all."""
    if details.status != JobStatus.FAILED:
        return ""
    if details.driver_exit_code is None:
        return f"The job failed: {(details.message or 'no reason given').strip()[:1000]}"
    if details.driver_exit_code == NOT_FOUND:
        return "The nodes have no segtransfer: send it along with --package WHEEL."
    return ""


@contextmanager
def _in_sentences(address: str) -> Iterator[None]:
    """Turn what goes wrong between here and a cluster into InputError."""
    try:
        yield
    except AuthenticationError:
        raise InputError(
            f"the cluster at {address} refuses without its token: set RAY_AUTH_MODE=token, and "
            "RAY_AUTH_TOKEN_PATH to the file with the token that its nodes were started with"
        ) from None
    except OSError as error:
        raise InputError(
            f"no Ray cluster answers at {address} ({str(error).splitlines()[0][:200]}); give "
            "--address the URL of its dashboard, as 'ray dashboard' or a port-forward makes it"
        ) from None
    except (RuntimeError, ValueError, KeyError) as error:
        raise InputError(f"{address} refuses: {str(error).strip()[:500]}") from None
