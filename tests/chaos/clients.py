"""Quick starts of clients: for each line it reads, a process that has imported everything forks.

A line holds an experiment and a file for the client's notices. The answer is the process id of the
client. The exit status of each client follows, on a line of its own.
"""

import json
import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, TextIO

from segtransfer.experiment.provenance import code_hash
from segtransfer.experiment.reading import read_experiment
from segtransfer.runtime.interrupts import terminable
from segtransfer.runtime.listener import Listener
from segtransfer.runtime.runner import carry_out
from segtransfer.runtime.sessions import Notice
from tests.chaos import write_faults
from tests.chaos.schedules import TERMINATED


class NoticeWriter(Listener):
    """Writes each notice to a file."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def notice(self, notice: Notice) -> None:
        self._file.write(json.dumps([notice.kind, notice.key]) + "\n")


def run_client(request: dict[str, Any]) -> None:
    from segtransfer.runtime.executors.ray import driver

    write_faults.install()
    driver.DriverActor = write_faults.Driver  # type: ignore[misc]
    with Path(request["notice_file"]).open("w", buffering=1) as file, terminable():
        try:
            stopped = carry_out(read_experiment(request["spec"]), NoticeWriter(file)).stopped
        except KeyboardInterrupt:  # SIGTERM before there was anything to compute
            stopped = "terminated"
    if stopped == "terminated":
        os._exit(TERMINATED)


def answer(*words: Any) -> None:
    os.write(1, (json.dumps(words) + "\n").encode())


def watch(child: int) -> None:
    _, status = os.waitpid(child, 0)
    answer("ended", child, os.waitstatus_to_exitcode(status))


def main() -> None:
    code_hash()  # of what was imported, whatever is on disk when a client asks
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            request = json.loads(line)
            output = os.open(f"{request['notice_file']}.err", os.O_CREAT | os.O_WRONLY)
            for stream in (1, 2):
                os.dup2(output, stream)
            try:
                run_client(request)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        answer("started", child)
        threading.Thread(target=watch, args=[child], daemon=True).start()


if __name__ == "__main__":
    main()
