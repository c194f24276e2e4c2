"""Starts clients quickly: forks a process that has imported everything, for each line it reads.

A line holds an experiment and a file for what the client hears; its process id is the answer. The
exit status of each child follows, on a line of its own.
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
from segtransfer.experiment.spec import read_experiment
from segtransfer.runtime.listener import Listener
from segtransfer.runtime.runner import carry_out
from segtransfer.runtime.sessions import Notice
from tests.chaos import sabotage


class Diary(Listener):
    """Writes down each notice as it comes."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def notice(self, notice: Notice) -> None:
        self._file.write(json.dumps([notice.kind, notice.key]) + "\n")


def be_client(order: dict[str, Any]) -> None:
    from segtransfer.runtime import ray_driver

    sabotage.obey()
    ray_driver.DriverActor = sabotage.Driver  # type: ignore[misc]
    with Path(order["diary"]).open("w", buffering=1) as file:
        carry_out(read_experiment(order["spec"]), Diary(file))


def tell(*words: Any) -> None:
    os.write(1, (json.dumps(words) + "\n").encode())


def watch(child: int) -> None:
    _, status = os.waitpid(child, 0)
    tell("ended", child, os.waitstatus_to_exitcode(status))


def main() -> None:
    code_hash()  # of what was imported, whatever is on disk when a client asks
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            order = json.loads(line)
            told = os.open(f"{order['diary']}.err", os.O_CREAT | os.O_WRONLY)
            for stream in (1, 2):
                os.dup2(told, stream)
            try:
                be_client(order)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        tell("started", child)
        threading.Thread(target=watch, args=[child], daemon=True).start()


if __name__ == "__main__":
    main()
