"""The Ray executor: a model actor per slot, on every node of a cluster."""

from typing import TYPE_CHECKING, ClassVar

from segtransfer.experiment.runtime_spec import EXECUTORS, ExecutorKind, Runtime
from segtransfer.store import Store

if TYPE_CHECKING:
    from segtransfer.runtime.executors.ray.driver import RayClient


class OnRay(ExecutorKind):
    """Runs the driver as an actor on a Ray cluster: the run's own, or that of a named fleet."""

    workers: ClassVar[bool] = True

    def connect(self, runtime: Runtime, name: str) -> "RayClient":
        """Start a driver, or attach to the fleet that the runtime names.

        Args:
            runtime: The runtime options of the run.
            name: Prefix of the Ray namespace of a driver of the run's own.

        Returns:
            The run's access to the driver, which the run closes.

        Raises:
            InputError: If no cluster answers, or the fleet cannot be used.
        """
        # Imported here, because specs are read without Ray.
        from segtransfer.runtime.executors.ray.driver import own_driver
        from segtransfer.runtime.executors.ray.fleets import attach

        if runtime.fleet.name is not None:
            return attach(runtime.fleet.name, Store(runtime.store).location)
        return own_driver(runtime, name)

    def store_of(self, runtime: Runtime) -> str:
        """Return the location of the store of the spec, else of the fleet.

        Raises:
            InputError: If no cluster answers, or the fleet is not up.
        """
        fleet = runtime.fleet.name
        if fleet is None or "store" in runtime.model_fields_set:
            return runtime.store
        from segtransfer.runtime.executors.ray.fleets import store_of

        return store_of(fleet)


EXECUTORS.add("ray")(OnRay())
