"""Stores on every back end, and small results to put there."""

import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segtransfer.experiment.task import Task
from segtransfer.store import Store
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.data.open import open_dataset
from segtransfer.tasks.data.shards import Shard, make_shards
from segtransfer.tasks.data.spec import DataSpec
from segtransfer.tasks.perturbation import statistics
from tests.orchestrator.toy_experiments import CLASSES, write_images

BACK_ENDS = ["folder", "bucket"]
REPORT = {"cost": {"seconds": 0.25}, "perturbation": {"psnr": [float("inf"), 31.5]}}


@contextmanager
def bucket_server() -> Iterator[str]:
    """An S3 server with one bucket, in this process; gives the query that finds it."""
    boto3 = pytest.importorskip("boto3")
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "tester")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
        client.create_bucket(Bucket="results")
        yield f"endpoint_override={host}:{port}&scheme=http"
    server.stop()


def new_store(back_end: str, folder: Path, query: str) -> Store:
    """An empty store that no other test has."""
    name = f"store-{secrets.token_hex(4)}"
    if back_end == "folder":
        return Store(str(folder / name))
    return Store(f"s3://results/{name}?{query}")


def make_shard(folder: Path, seed: int = 0) -> Shard:
    """Two labelled images of 24 x 32."""
    data = write_images(folder / f"data-{seed}", count=2, seed=seed)
    spec = DataSpec(folder=str(data), classes=tuple(CLASSES))
    (shard,) = make_shards(open_dataset(spec), spec, groups=1, shard_size=8)
    return shard


def key_of(number: int) -> str:
    return f"{number % 256:02x}" + f"{number:062x}"


def images_of(shard: Shard, seed: int) -> np.ndarray:
    """Two images made of each of the shard's."""
    return np.random.default_rng(seed).integers(0, 256, (2, *shard.images.shape), np.uint8)


def report_of(shard: Shard, made: np.ndarray) -> dict[str, Any]:
    """The report of an attack that made these AEs without a model."""
    changes = [statistics(images, shard.images, 8 / 255) for images in made]
    return {"perturbation": changes, "numerics": {}, "cost": {}}


def commit_attack(store: Store, shard: Shard, number: int, seed: int | None = None) -> str:
    """Commit an attack's AEs, drawn from ``seed``; returns its key."""
    key, attack = key_of(number), AttackSpec.model_validate("pgd")
    task = Task(key, "model", shard.shard_id, 1.0, 10, attack=attack)
    made = images_of(shard, number if seed is None else seed)
    store.commit_attack(task, shard, made, report_of(shard, made))
    return key


def commit_scores(store: Store, shard: Shard, number: int, images: str | None = None) -> str:
    """Commit an evaluation with random confusions; returns its key."""
    generator = np.random.default_rng(number)
    confusions = generator.integers(0, 2**40, (len(shard.images), 3, 3))
    predictions = generator.integers(0, 3, shard.labels.shape, np.uint8)
    key = key_of(number)
    task = Task(key, "target", shard.shard_id, 1.0, 0, depends_on=images)
    store.commit_evaluation(task, shard, confusions, predictions, REPORT)
    return key


def flip(store: Store, path: str, place: int | None = None) -> None:
    """Write a file again with one bit flipped, in its middle where no byte is named."""
    content = bytearray(store.files.read(path) or b"")
    content[len(content) // 2 if place is None else place] ^= 4
    store.files.write(path, bytes(content))


def blob_path(store: Store, key: str) -> str:
    row = store.row(key)
    assert row is not None
    return row.blob
