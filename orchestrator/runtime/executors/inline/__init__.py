"""The inline executor: every model in this process, a call at a time, on one torch thread."""

from segtransfer.experiment.runtime_spec import EXECUTORS, ExecutorKind, Runtime
from segtransfer.runtime.client import LocalClient
from segtransfer.runtime.driver import Driver
from segtransfer.runtime.event_log import log_to
from segtransfer.store import Store


class Inline(ExecutorKind):
    """Runs the driver and every model in the process of the command."""

    def connect(self, runtime: Runtime, name: str) -> LocalClient:
        """Open a driver in this process, and the event log if the runtime names a file.

        Args:
            runtime: The runtime options of the run.
            name: Unused, because only this process uses the driver.

        Returns:
            The run's access to the driver.
        """
        # Imported here, because specs are read without torch.
        from segtransfer.runtime.executors.inline.executor import InlineExecutor

        if runtime.log is not None:
            log_to(runtime.log)
        executor = InlineExecutor(micro_batch=runtime.micro_batch)
        return LocalClient(Driver(executor, Store(runtime.store), runtime))


EXECUTORS.add("inline")(Inline())
