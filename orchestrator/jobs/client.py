"""Client of a Ray cluster's jobs, over HTTP: submit, job_details, follow, stop."""

import asyncio
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

import aiohttp
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from segtransfer.errors import InputError, ServerError
from segtransfer.jobs import DEFAULT_ADDRESS
from segtransfer.jobs.bundle import JobBundle
from segtransfer.tasks.urls import secret_part

LOG_TIMEOUT = 60.0  # seconds without a line, after which a connection counts as lost
POLL_INTERVAL = 2.0  # seconds between requests for a job's state
UNREACHABLE_LIMIT = 600.0  # seconds that a cluster may be out of reach while a job is followed
LOST = (OSError, RuntimeError, aiohttp.ClientError)  # the errors of a lost connection
RETRIES = 2  # of a request that a server answered with 5xx
_SERVER_TROUBLE = re.compile(r"^5\d\d |status code 5\d\d")
NOT_FOUND = 127  # a shell's exit code for an unknown command

Answer = TypeVar("Answer")

for _name in (
    "dashboard.modules.dashboard_sdk",
    "dashboard.modules.job.sdk",
    "_private.runtime_env.packaging",
):
    logging.getLogger(f"ray.{_name}").setLevel(logging.WARNING)


def connect(address: str) -> JobSubmissionClient:
    """Return a client of the jobs of a cluster.

    ``RAY_API_SERVER_ADDRESS`` is set in this process.

    Args:
        address: The URL of the cluster's dashboard, http or https.

    Raises:
        InputError: No cluster answers, the cluster refuses, or the address holds a password.
        ServerError: The dashboard answers with a server error (5xx).
    """
    if not address.startswith(("http://", "https://")):
        raise InputError(
            f"--address {address}: give the dashboard's URL, for example {DEFAULT_ADDRESS}"
        )
    if secret_part(address):
        raise InputError(
            "--address holds a password; remove the password, and set RAY_AUTH_TOKEN_PATH to the "
            "file with the cluster's token"
        )
    # In Ray this variable, and RAY_ADDRESS, override the address passed to the client.
    os.environ["RAY_API_SERVER_ADDRESS"] = address
    return _asked(address, lambda: JobSubmissionClient(address))


def submit(client: JobSubmissionClient, bundle: JobBundle) -> str:
    """Upload and submit a bundle; not retried, because the job may have started.

    Args:
        client: Client of the cluster's jobs.
        bundle: The bundle, whose folders exist.

    Returns:
        The id of the job.

    Raises:
        InputError: The working folder is too large, or the cluster refuses.
        ServerError: The dashboard answers with a server error (5xx).
    """
    with _in_sentences(client.get_address()):
        return client.submit_job(entrypoint=bundle.entrypoint, runtime_env=bundle.runtime_env())


def job_details(client: JobSubmissionClient, job: str) -> JobDetails:
    """Return the state of a job.

    Args:
        client: Client of the job's cluster.
        job: Id of the job.

    Raises:
        InputError: The cluster knows no job of this id; the message lists the known ids.
        ServerError: The dashboard answers with a server error (5xx) three times.
    """

    def ask() -> JobDetails | list[str | None]:
        try:
            return client.get_job_info(job)
        except RuntimeError as error:
            if "status code 404" not in str(error):
                raise
            return [details.submission_id for details in client.list_jobs()]

    known = _asked(client.get_address(), ask)
    if not isinstance(known, list):
        return known
    listed = ", ".join(filter(None, known)) or "none"
    raise InputError(f"no job '{job}' is known at {client.get_address()}; known jobs: {listed}")


def stop(client: JobSubmissionClient, job: str) -> JobDetails:
    """Stop a job, wait for its end, and return its state; an ended job is left unchanged.

    Args:
        client: Client of the job's cluster.
        job: Id of the job.

    Raises:
        InputError: The job is unknown.
        ServerError: The dashboard answers with a server error (5xx) three times.
    """
    details = job_details(client, job)
    if not details.status.is_terminal():
        _asked(client.get_address(), lambda: client.stop_job(job))
    while not details.status.is_terminal():
        time.sleep(POLL_INTERVAL)
        details = job_details(client, job)
    return details


def follow(client: JobSubmissionClient, job: str, write: Callable[[str], object]) -> JobDetails:
    """Write a job's log while the job runs, and return the job's final state.

    A lost connection is opened again.

    Args:
        client: Client of the job's cluster.
        job: Id of the job.
        write: Receives each new piece of the log. No character is passed twice.

    Raises:
        InputError: The job is unknown.
        ServerError: The cluster is out of reach for ten minutes.
    """
    job_details(client, job)
    log, last_answer = _Log(client, job, write), time.monotonic()
    while True:
        with suppress(*LOST):
            asyncio.run(log.tail())
        try:
            details = job_details(client, job)
        except (InputError, ServerError) as error:
            if time.monotonic() - last_answer > UNREACHABLE_LIMIT:
                raise ServerError(f"job {job} may still run, but {error}") from error
        else:
            last_answer = time.monotonic()
            if details.status.is_terminal():
                with suppress(*LOST):
                    log.write(client.get_job_logs(job), 0)
                return details
        time.sleep(POLL_INTERVAL)


class _Log:
    """The log of a job. The server sends the whole log on every request."""

    def __init__(
        self, client: JobSubmissionClient, job: str, write: Callable[[str], object]
    ) -> None:
        self._client, self._job, self._write = client, job, write
        self._written = 0  # characters

    async def tail(self) -> None:
        """Write the log until the job ends.

        Raises:
            TimeoutError: No text arrives for ``LOG_TIMEOUT`` seconds.
        """
        position, pieces = 0, self._client.tail_job_logs(self._job)
        while text := await asyncio.wait_for(anext(pieces, ""), LOG_TIMEOUT):
            self.write(text, position)
            position += len(text)

    def write(self, text: str, position: int) -> None:
        """Write the part of a piece of the log that is not yet written.

        Args:
            text: The piece.
            position: The position of the piece in the log, in characters.
        """
        new = text[max(0, self._written - position) :]
        if new:
            self._write(new)
            self._written = position + len(text)


def exit_code(details: JobDetails) -> int:
    """Return the exit code of an ended job.

    Returns:
        0 for success, 143 for a stopped job, 128 + n for signal n, else the code of the command; 1
        if Ray knows no code.
    """
    if details.status == JobStatus.SUCCEEDED:
        return 0
    if details.status == JobStatus.STOPPED:
        return 143
    code = details.driver_exit_code
    if code is None:
        return 1
    return code if code >= 0 else 128 - code


def last_word(details: JobDetails) -> str:
    """Return the cause of a failed job if the job's log lacks the cause.

    Args:
        details: The state of an ended job.

    Returns:
        A sentence; empty if the job did not fail, or if the cause is in its log.
    """
    if details.status != JobStatus.FAILED:
        return ""
    if details.driver_exit_code is None:
        return f"The job failed: {(details.message or 'no reason given').strip()[:1000]}"
    if details.driver_exit_code == NOT_FOUND:
        return "The nodes have no segtransfer: upload it with --package WHEEL."
    return ""


def _asked(address: str, call: Callable[[], Answer]) -> Answer:
    """Return the answer of a cluster; ask up to twice again after a server error (5xx)."""
    for _ in range(RETRIES):
        try:
            with _in_sentences(address):
                return call()
        except ServerError:
            time.sleep(POLL_INTERVAL)
    with _in_sentences(address):
        return call()


@contextmanager
def _in_sentences(address: str) -> Iterator[None]:
    """Turn refusals of a cluster into InputError, and server errors (5xx) into ServerError."""
    try:
        yield
    except AuthenticationError as error:
        raise InputError(
            f"the cluster at {address} needs its token: set RAY_AUTH_MODE=token, and "
            "RAY_AUTH_TOKEN_PATH to a file with the token of the cluster's nodes"
        ) from error
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if _SERVER_TROUBLE.search(first):
            raise ServerError(
                f"the dashboard at {address} has a server error ({first[:300]}); try again later, "
                "or read the logs of the dashboard"
            ) from error
        if isinstance(error, OSError):
            raise InputError(
                f"no Ray cluster answers at {address} ({first[:200]}); set --address to the URL of "
                "the dashboard, for example of a port-forward or of 'ray dashboard'"
            ) from error
        reason = str(error).strip()[:500]
        raise InputError(f"the cluster at {address} refuses the request: {reason}") from error
