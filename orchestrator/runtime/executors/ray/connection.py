"""The connection to a Ray cluster: its deadline, temporary folder and environment variables."""

import atexit
import logging
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from typing import Any

import grpc
import ray
from ray._private.services import canonicalize_bootstrap_address
from ray.exceptions import AuthenticationError

from segtransfer.errors import InputError, SegtransferError, ServerError

CONNECT_TIMEOUT = 60.0  # seconds for a cluster to answer
REMOVAL_TIMEOUT = 5.0  # seconds to remove a folder while Ray's last processes may write to it
SOCKET_BYTES = 107  # most bytes of a unix socket's path
# Ray's longest path of a socket below the temporary folder, with the largest process id.
SOCKET = "ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
AUTH_MODE = "RAY_AUTH_MODE"  # Ray sets it in this process when it starts a cluster

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Connection:
    """A connection of this process to a cluster.

    Attributes:
        auth_mode: ``RAY_AUTH_MODE`` before the connection, or None.
        folder: Temporary folder of a cluster of this process, which ``close`` removes, or None.
    """

    auth_mode: str | None
    folder: str | None

    def close(self) -> None:
        """Disconnect, and restore the environment that Ray changed.

        A cluster of this process ends with the connection.
        """
        ray.shutdown()
        self.restore()

    def restore(self) -> None:
        """Restore ``RAY_AUTH_MODE`` and remove the temporary folder, for at most 5 s."""
        os.environ.pop(AUTH_MODE, None)
        if self.auth_mode is not None:
            os.environ[AUTH_MODE] = self.auth_mode
        give_up = time.monotonic() + REMOVAL_TIMEOUT
        while self.folder is not None and os.path.exists(self.folder):
            shutil.rmtree(self.folder, ignore_errors=True)
            if time.monotonic() > give_up:
                break
            time.sleep(0.1)


def prepare(address: str | None) -> tuple[Connection, dict[str, Any]]:
    """Return the connection to be opened, and the options of ``ray.init`` for a local cluster.

    If the path of ``RAY_TMPDIR`` (else ``TMPDIR``) is too long for Ray's sockets, a short folder
    below /tmp is made instead, with a logged warning.

    Args:
        address: Address of the cluster, ``auto``, or None to start a cluster.

    Returns:
        The connection, and keyword arguments of ``ray.init``.

    Raises:
        InputError: Ray's temporary folder cannot be written.
    """
    name = "RAY_TMPDIR" if "RAY_TMPDIR" in os.environ else "TMPDIR"
    given, folder = os.environ.get(name), None
    options: dict[str, Any] = {}
    if given and not address:
        absolute = os.path.abspath(given)
        if len(os.fsencode(os.path.join(absolute, SOCKET))) > SOCKET_BYTES:
            folder = _short_folder(name)
            # Ray opens its folder to all users, so it gets a folder inside the user's own.
            options = {"_temp_dir": os.path.join(folder, "ray")}
        else:
            _check_folder(name, absolute)
            if absolute != os.path.normpath(given):  # Ray's processes have other working folders
                options = {"_temp_dir": os.path.join(absolute, "ray")}
    return Connection(os.environ.get(AUTH_MODE), folder), options


def _check_folder(name: str, folder: str) -> None:
    """Check that this user can write a folder, or can make it.

    Args:
        name: The environment variable with the folder.
        folder: The folder, which need not exist.

    Raises:
        InputError: The folder, or its nearest existing parent, is a file or cannot be written.
    """
    existing = folder
    while not os.path.lexists(existing):
        existing = os.path.dirname(existing)
    if not os.path.isdir(existing):
        reason = f"{existing} is not a folder"
    elif not os.access(existing, os.W_OK | os.X_OK):
        reason = f"this user cannot write {existing}"
    else:
        return
    raise InputError(
        f"Ray cannot use the temporary folder {name}={folder}, because {reason}. Set RAY_TMPDIR "
        "to a folder that you can write, for example /tmp."
    )


def _short_folder(name: str) -> str:
    """Make a folder of this user below /tmp, because the variable's folder is too long."""
    folder = tempfile.mkdtemp(prefix="segtransfer-ray-", dir="/tmp")
    # At its end a process recreates the folders of its earlier clusters.
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    log.warning(
        "%s is too long for Ray's sockets; this run uses the folder %s instead", name, folder
    )
    return folder


def wait_for_cluster(address: str, timeout: float) -> None:
    """Wait until a cluster answers, because ``ray.init`` would wait forever.

    Addresses with ``ray://`` and clusters with TLS are not waited for.

    Args:
        address: ``host:port`` of the cluster, or ``auto``.
        timeout: Seconds to wait.

    Raises:
        InputError: The address is invalid, or does not answer in time.
        ConnectionError: The address is ``auto``, and no cluster is found on this machine.
    """
    # Ray waits 30 s for addresses of its client, and a channel with TLS needs Ray's certificates.
    if address.startswith("ray://") or os.environ.get("RAY_USE_TLS", "0") not in ("0", "false"):
        return
    try:
        target = canonicalize_bootstrap_address(address)
    except ValueError as error:
        raise InputError(
            f"RAY_ADDRESS '{address}' is not an address ({error}). Set RAY_ADDRESS to host:port of "
            "the head node, for example 10.0.0.1:6379."
        ) from error
    if target is None:
        return
    options = [("grpc.enable_http_proxy", 0)]  # as Ray's own channels
    with grpc.insecure_channel(target, options) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout)
        except grpc.FutureTimeoutError as error:
            raise InputError(
                f"No Ray cluster answers at {address} within {timeout:.0f} s. Set RAY_ADDRESS to "
                "host:port of the head node's GCS (port 6379 by default), or unset RAY_ADDRESS to "
                "run on this machine."
            ) from error


def explain(error: BaseException, address: str | None) -> SegtransferError | None:
    """Return a sentence on a connection that failed.

    Args:
        error: What ``ray.init`` or ``wait_for_cluster`` raised.
        address: The address of the cluster, ``auto``, or None for a cluster of this process.

    Returns:
        The error with the sentence; None if ``error`` is an InputError or of another kind.
    """
    if "timed out during startup" in str(error):  # Ray raises a bare Exception
        return ServerError(
            "Ray did not start on this machine in time, because the machine is busy or out of "
            "memory. Run the command again when fewer programs run, or set runtime.executor=inline."
        )
    if isinstance(error, InputError):
        return None
    if not isinstance(error, ConnectionError | AuthenticationError | ValueError):
        return None
    found = f"No Ray cluster answers at {address or 'local'} ({str(error).splitlines()[0]})"
    if address == "auto" and isinstance(error, ConnectionError):
        found = "No Ray cluster runs on this machine"
    return InputError(
        f"{found}. Start a cluster with 'ray start --head', or set RAY_ADDRESS to a cluster "
        "(and RAY_AUTH_TOKEN_PATH to the file of its token)."
    )
