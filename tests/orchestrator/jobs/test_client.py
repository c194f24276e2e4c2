"""Jobs over HTTP: followed through lost connections, exit codes, sentences for what is wrong."""

import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from ray.job_submission import JobDetails, JobStatus, JobType
from typer.testing import CliRunner

from segtransfer.cli import app
from segtransfer.errors import InputError
from segtransfer.jobs import client as jobs
from segtransfer.jobs.client import connect, exit_code, follow, job_details, last_word, stop

LOG = "one\ntwo\nthree\n"
runner = CliRunner()


def details(status: JobStatus, code: int | None = None, message: str = "") -> JobDetails:
    return JobDetails(
        type=JobType.SUBMISSION,
        submission_id="raysubmit_1",
        status=status,
        entrypoint="segtransfer run quickstart",
        driver_exit_code=code,
        message=message,
        runtime_env={"env_vars": {"PASSWORD": "hunter2"}},
    )


class Cluster:
    """A cluster with one job; each look takes its next state, each tail sends the next chunks and
    breaks off."""

    def __init__(self, states: list[JobDetails], tails: list[list[str]] | None = None) -> None:
        self.states, self.tails = states, tails or [[]]
        self.stopped = 0

    def get_address(self) -> str:
        return "http://head:8265"

    def get_job_info(self, job: str) -> JobDetails:
        if job != "raysubmit_1":
            raise RuntimeError(f"Request failed with status code 404: Job {job} does not exist.")
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def list_jobs(self) -> list[JobDetails]:
        return self.states[:1]

    def stop_job(self, job: str) -> bool:
        self.stopped += 1
        return True

    async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
        chunks = self.tails.pop(0) if len(self.tails) > 1 else self.tails[0]
        for chunk in chunks:
            yield chunk
        raise RuntimeError("WebSocket connection closed unexpectedly")

    def get_job_logs(self, job: str) -> str:
        return LOG


RUNNING, DONE = details(JobStatus.RUNNING), details(JobStatus.SUCCEEDED, 0)


@pytest.fixture(autouse=True)
def no_waiting_and_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "POLL_INTERVAL", 0.0)
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")  # so that it is afterwards as it was
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS")


def followed(cluster: Any) -> tuple[str, JobDetails]:
    written: list[str] = []
    ended = follow(cluster, "raysubmit_1", written.append)
    return "".join(written), ended


def test_log_over_lost_connections_is_written_once() -> None:
    tails = [["one\ntw"], ["one\n", "two\nth"], [], [LOG]]
    states = [RUNNING, RUNNING, RUNNING, RUNNING, DONE]
    assert followed(Cluster(states, tails)) == (LOG, DONE)


def test_missing_end_of_a_log_is_requested() -> None:
    assert followed(Cluster([RUNNING, RUNNING, DONE], [["one\n"]])) == (LOG, DONE)


def test_silent_connection_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    monkeypatch.setattr(jobs, "LOG_TIMEOUT", 0.05)

    class Silent(Cluster):
        async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
            for chunk in self.tails.pop(0):
                yield chunk
            await asyncio.sleep(60)

    assert followed(Silent([RUNNING, RUNNING, DONE], [["one\n"], [LOG]])) == (LOG, DONE)


def test_unreachable_cluster_is_an_error_after_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "UNREACHABLE_LIMIT", 0.0)

    class Gone(Cluster):
        def get_job_info(self, job: str) -> JobDetails:
            if len(self.states) > 1:
                return super().get_job_info(job)
            raise ConnectionError("refused")

    with pytest.raises(RuntimeError, match=r"may still run.*http://head:8265"):
        followed(Gone([RUNNING, RUNNING]))


@pytest.mark.parametrize(
    ("ended", "code"),
    [
        (details(JobStatus.SUCCEEDED, 0), 0),
        (details(JobStatus.FAILED, 2), 2),
        (details(JobStatus.FAILED, 143), 143),
        (details(JobStatus.FAILED, -9), 137),
        (details(JobStatus.FAILED, None), 1),
        (details(JobStatus.STOPPED), 143),
    ],
)
def test_exit_codes_pass_through(ended: JobDetails, code: int) -> None:
    assert exit_code(ended) == code


def test_cause_missing_in_the_log_is_printed() -> None:
    setup = details(JobStatus.FAILED, None, "runtime_env setup failed: no space left")
    assert "no space left" in last_word(setup)
    assert "--package" in last_word(details(JobStatus.FAILED, 127, "not found"))
    assert last_word(details(JobStatus.FAILED, 2, "last lines of the log")) == ""
    assert last_word(DONE) == ""


def test_stop_waits_until_the_job_has_ended() -> None:
    cluster = Cluster([RUNNING, RUNNING, RUNNING, details(JobStatus.STOPPED)])
    assert stop(cluster, "raysubmit_1").status == JobStatus.STOPPED  # type: ignore[arg-type]
    assert cluster.stopped == 1


def test_ended_job_is_not_stopped() -> None:
    cluster = Cluster([DONE])
    assert stop(cluster, "raysubmit_1") is DONE  # type: ignore[arg-type]
    assert cluster.stopped == 0


def test_unknown_job_is_refused_with_the_known_jobs() -> None:
    with pytest.raises(InputError, match=r"no job 'other' .* known jobs: raysubmit_1"):
        job_details(Cluster([DONE]), "other")  # type: ignore[arg-type]


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    """A server that answers every request with its ``status`` and ``body``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.server.requests += 1  # type: ignore[attr-defined]
            self.send_response(self.server.status)  # type: ignore[attr-defined]
            self.end_headers()
            self.wfile.write(self.server.body)  # type: ignore[attr-defined]

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.requests = 0  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (401, b"", ["RAY_AUTH_MODE=token", "RAY_AUTH_TOKEN_PATH"]),
        (403, b"", ["RAY_AUTH_MODE=token", "RAY_AUTH_TOKEN_PATH"]),
        (404, b"", ["refuses", "404"]),
        (200, b"<html>", ["no Ray cluster answers"]),
        (200, b"{}", ["refuses"]),
    ],
)
def test_refusal_of_a_cluster_is_a_sentence(
    server: HTTPServer, status: int, body: bytes, expected: list[str]
) -> None:
    server.status, server.body = status, body  # type: ignore[attr-defined]
    address = f"http://127.0.0.1:{server.server_port}"
    answer = runner.invoke(app, ["job", "status", "raysubmit_1", "--address", address])
    assert answer.exit_code == 2, answer.output
    message = answer.stderr.replace("\n", " ")
    assert [text for text in (address, *expected) if text not in message] == []
    assert "Traceback" not in answer.output


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_server_error_is_retried_and_is_no_input_error(server: HTTPServer, status: int) -> None:
    server.status, server.body = status, b"oops"  # type: ignore[attr-defined]
    address = f"http://127.0.0.1:{server.server_port}"
    answer = runner.invoke(app, ["job", "status", "raysubmit_1", "--address", address])
    assert answer.exit_code == 1, answer.output
    message = answer.stderr.replace("\n", " ")
    assert f"the dashboard at {address} has a server error ({status} Server Error" in message
    assert server.requests == 1 + jobs.RETRIES  # type: ignore[attr-defined]


def test_server_error_before_recovery_is_hidden() -> None:
    class Shaky(Cluster):
        failures = 2

        def get_job_info(self, job: str) -> JobDetails:
            if self.failures:
                self.failures -= 1
                raise RuntimeError("Request failed with status code 503: overloaded.")
            return super().get_job_info(job)

    assert job_details(Shaky([DONE]), "raysubmit_1") is DONE  # type: ignore[arg-type]


def test_address_without_a_server_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8")  # the address that is given wins
    answer = runner.invoke(
        app, ["submit", "quickstart", "--store", "/lab", "--address", "http://127.0.0.1:9"]
    )
    assert answer.exit_code == 2
    assert "no Ray cluster answers at http://127.0.0.1:9" in answer.stderr.replace("\n", " ")


@pytest.mark.parametrize("address", ["head:8265", "ray://head:10001", "mymodule://x", "auto"])
def test_only_urls_of_a_dashboard_are_addresses(address: str) -> None:
    with pytest.raises(InputError, match="dashboard"):
        connect(address)


def test_an_address_with_a_password_is_refused_without_it() -> None:
    with pytest.raises(InputError, match="password") as caught:
        connect("http://me:hunter2@head:8265")
    assert "hunter2" not in str(caught.value)


def test_state_of_a_job_hides_its_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jobs, "connect", lambda address: Cluster([details(JobStatus.FAILED, 2)]))
    answer = runner.invoke(app, ["job", "status", "raysubmit_1"])
    assert answer.exit_code == 0, answer.output
    assert "failed, exit code 2" in answer.output
    assert "segtransfer run quickstart" in answer.output
    assert "hunter2" not in answer.output


def test_ctrl_c_keeps_the_job_and_prints_how_to_follow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Interrupted(Cluster):
        async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
            yield "one\n"
            raise KeyboardInterrupt

    cluster = Interrupted([RUNNING])
    monkeypatch.setattr(jobs, "connect", lambda address: cluster)
    answer = runner.invoke(app, ["job", "follow", "raysubmit_1", "--address", "http://head:8265"])
    assert answer.exit_code == 130
    assert answer.stdout == "one\n"
    for verb in ("follow", "stop"):
        assert f"segtransfer job {verb} raysubmit_1 --address http://head:8265" in answer.stderr
    assert cluster.stopped == 0
