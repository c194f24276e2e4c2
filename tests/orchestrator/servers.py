"""A team's MLflow on this machine: a real server with users, and a proxy in front of it."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

START = 300.0  # seconds: a fresh database, on a busy machine
ADMIN, PASSWORD, KEY = "admin", "hunter2-of-the-team", "signs-the-forms"


def free_port() -> int:
    """A port that is free at all addresses of this machine."""
    with socket.socket() as found:
        found.bind(("", 0))
        return int(found.getsockname()[1])


class MlflowServer:
    """``mlflow server`` with users and artefacts of its own; ``database`` is its back end."""

    def __init__(self, folder: Path, database: str = "", users: str = "") -> None:
        folder.mkdir(exist_ok=True)
        self.port = free_port()
        self._folder = folder
        self._database = database or f"sqlite:///{folder / 'runs.db'}"
        users = users or f"sqlite:///{folder / 'users.db'}"
        (folder / "auth.ini").write_text(
            "[mlflow]\ndefault_permission = READ\nadmin_username = admin\n"
            f"database_uri = {users}\nauth_cache_ttl_seconds = 60\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, **more: str) -> None:
        """Start it, and wait until it answers; secrets are in its environment alone."""
        environment = os.environ | {
            "MLFLOW_AUTH_CONFIG_PATH": str(self._folder / "auth.ini"),
            "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": KEY,
            # Its background jobs are eight more processes, which nothing here needs.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            **more,
        }
        environment.pop("MLFLOW_TRACKING_URI", None)
        command = [
            sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth",
            "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
            "--backend-store-uri", self._database,
            "--serve-artifacts", "--artifacts-destination", str(self._folder / "artifacts"),
        ]  # fmt: skip
        with (self._folder / "server.log").open("a") as log:
            self._process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        give_up = time.monotonic() + START
        while not self._answers():
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < give_up, self.log()
            time.sleep(0.2)

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def stop(self) -> None:
        """End it as a machine that is turned off does."""
        if self._process is not None:
            self.signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def signal(self, number: int) -> None:
        """Send a signal to all of its processes: SIGSTOP makes them hang, SIGCONT go on."""
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def commands(self) -> str:
        """The command lines of its processes."""
        assert self._process is not None
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if os.getpgid(int(process.name)) == self._process.pid:
                    found.append((process / "cmdline").read_text())
            except OSError:
                continue
        return "\n".join(found)

    def log(self) -> str:
        return (self._folder / "server.log").read_text()


class Proxy:
    """Passes requests on; ``before`` is called with the number of each, and may take its time."""

    def __init__(self, port: int) -> None:
        self.before: Callable[[int], None] = lambda number: None
        self.requests = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler(port))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self, port: int) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def _pass_on(self) -> None:
                proxy.requests += 1
                proxy.before(proxy.requests)
                length = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(length)
                headers = {**self.headers, "Host": f"127.0.0.1:{port}"}
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                try:
                    connection.request(self.command, self.path, body, headers)
                    answer = connection.getresponse()
                    content = answer.read()
                except OSError:
                    self.close_connection = True  # as a server that is gone
                    return
                finally:
                    connection.close()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        return Handler
