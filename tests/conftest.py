"""Set-up for all tests: Ray is told where it may live before anything imports it."""

import gc
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.loaded import unload_folders
from tests.quick import heavy_imports, mark_quick

ROOT = Path(__file__).resolve().parent.parent
# Short, since Ray's unix sockets lie below it and their paths end at 107 characters.
RAY_FOLDER = Path(tempfile.mkdtemp(prefix="st-ray-", dir="/tmp"))

os.environ.pop("RAY_ADDRESS", None)
os.environ["RAY_TMPDIR"] = str(RAY_FOLDER)
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN_PATH"] = str(RAY_FOLDER / "token")
(RAY_FOLDER / "token").write_text(secrets.token_hex(32))
# Workers import tests.toys.
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
os.environ.setdefault("OMP_NUM_THREADS", "1")
# No test cuts the power, and a third of an inline run's time is waiting for the disk.
os.fsync = lambda _: None


@pytest.fixture(autouse=True)
def one_import_root() -> Iterator[None]:
    """Fail a test that loads one of our folders as a module of its own, outside segtransfer."""
    yield
    assert unload_folders() == set()


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    """One Ray cluster for the whole session."""
    import ray

    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        namespace="segtransfer-tests",
        log_to_driver=False,
    )
    yield
    ray.shutdown()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the files unread that have no quick test, as they import big libraries."""
    only_quick = config.option.markexpr == "quick" and collection_path.suffix == ".py"
    return True if only_quick and heavy_imports(collection_path) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is run before every commit: ``pytest -m quick``."""
    mark_quick(items)


def pytest_collection_finish() -> None:
    """Spare the garbage collector the libraries and tests, which live to the end."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    shutil.rmtree(RAY_FOLDER, ignore_errors=True)
