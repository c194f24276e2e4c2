"""How many results a driver commits per second, and how long a store of many rows is listed.

    python infra/benchmarks/commits.py --rounds 5
    python infra/benchmarks/commits.py --rows 1000000 --folder /dev/shm

Workers have written the arrays, so a commit is a row: a file that is synced, or a PUT. The bucket
is a local server that answers after ``--latency`` seconds, as one in the same region does. One
writer and the driver's ``WRITERS`` alternate. ``--rows`` measures the listing alone, of a store
with so many empty rows.
"""

import argparse
import hashlib
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from segtransfer.experiment.task import Task
from segtransfer.runtime.committer import WRITERS, Committer
from segtransfer.runtime.executors.base import Output
from segtransfer.runtime.in_flight import InFlightCall
from segtransfer.store import Blob, Store

REPORT = {
    "cost": {"forwards": 5, "backwards": 5, "pixels": 384_000, "seconds": 1.5},
    "perturbation": [{"linf": [4.0] * 5, "l2": [900.0] * 5, "rms": [3.5] * 5}],
    "numerics": {"fold": False, "bf16": False, "channels_last": False, "tf32": False},
}


@contextmanager
def slow_bucket(latency: float) -> Iterator[str]:
    """Serve an S3 bucket that takes any object, each after ``latency`` seconds."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            if "Content-Length" in self.headers:
                self.rfile.read(int(self.headers["Content-Length"]))
            else:  # in chunks, each after its size in hexadecimal digits
                while size := int(self.rfile.readline(), 16):
                    self.rfile.read(size + 2)
                while self.rfile.readline().strip():  # trailers
                    pass
            time.sleep(latency)
            self.send_response(200)
            self.send_header("ETag", '"0"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    query = f"endpoint_override=127.0.0.1:{server.server_port}&scheme=http&region=us-east-1"
    yield f"s3://results/store?{query}"
    server.shutdown()


def results(count: int) -> list[tuple[InFlightCall, Output]]:
    """Return ended calls whose arrays are in the store."""
    found = []
    for number in range(count):
        key = hashlib.sha256(f"{time.time()} {number}".encode()).hexdigest()
        task = Task(key, "m" * 64, "s" * 64, 1.0, 1, depends_on="a" * 64, num_classes=11)
        blob = Blob(f"blobs/{key[:2]}/{key}.parquet", key, 20_000)
        call = InFlightCall(task, None, "slot", 0.0)  # type: ignore[arg-type]
        found.append((call, Output(report=REPORT, blob=blob)))
    return found


def rates(location: str, count: int) -> dict[str, float]:
    """Return the commits per second, and the CPU milliseconds of each, of one writer and of all."""
    committer, found = Committer(Store(location), None, ()), {}  # type: ignore[arg-type]
    committer.commit(results(1))  # connects, and loads libraries
    for name, batch in (("one writer", 1), (f"{WRITERS} writers", 4 * WRITERS)):
        ended = results(count)
        wall, cpu = time.perf_counter(), time.process_time()
        for begin in range(0, count, batch):
            for _, _, report in committer.commit(ended[begin : begin + batch]):
                if isinstance(report, Exception):
                    raise report
        found[name] = count / (time.perf_counter() - wall)
        found[f"{name}, CPU ms"] = 1000 * (time.process_time() - cpu) / count
    committer.close()
    return found


def listing(rows: int, folder: str | None) -> None:
    """Print how long the keys of a store with many rows take."""
    with tempfile.TemporaryDirectory(dir=folder) as root:
        for part in range(256):
            (Path(root) / f"rows/{part:02x}").mkdir(parents=True)
        for number in range(rows):
            name = hashlib.sha256(str(number).encode()).hexdigest()
            (Path(root) / f"rows/{name[:2]}/{name}.parquet").touch()
        begun = time.process_time()
        keys = Store(root).keys()
        print(f"{len(keys):,} keys in {time.process_time() - begun:.1f} CPU s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=320, help="commits per measurement")
    parser.add_argument("--latency", type=float, default=0.03, help="of the bucket, in seconds")
    parser.add_argument("--folder", help="of the temporary store")
    parser.add_argument("--rows", type=int, help="measure the listing of so many rows")
    options = parser.parse_args()
    if options.rows:
        return listing(options.rows, options.folder)
    for name in ("folder", "bucket"):
        found: list[dict[str, float]] = []
        for _ in range(options.rounds):
            if name == "bucket":
                with slow_bucket(options.latency) as url:
                    found.append(rates(url, options.count))
            else:
                with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                    found.append(rates(folder, options.count))
        for row in found[0]:
            value = statistics.median(each[row] for each in found)
            print(f"{name:7} {row:20} {value:8.1f}{'' if 'CPU' in row else ' commits a second'}")


if __name__ == "__main__":
    main()
