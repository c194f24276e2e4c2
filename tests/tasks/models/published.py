"""Published weights of a made network: a metafile beside its config, and a server of this machine.

The digits in the names of files are those of the files' own sha256.
"""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from segtransfer.tasks.models.spec import ModelSpec
from tests.tasks.models.networks import write_network

SCORES = {"mIoU": 77.85, "mIoU(ms+flip)": 79.18}


class Server:
    """A web server over a folder, which counts what it is asked for.

    Attributes:
        url: The address.
        folder: The folder.
        asked: The paths asked for, in order.
    """

    def __init__(self, url: str, folder: Path, asked: list[str]) -> None:
        self.url, self.folder, self.asked = url, folder, asked


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, asked: list[str], *arguments: Any, **options: Any) -> None:
        self.asked = asked
        super().__init__(*arguments, **options)

    def do_GET(self) -> None:
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """A server over a folder, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    asked: list[str] = []
    handler = partial(_Handler, asked, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield Server(f"http://127.0.0.1:{running.server_address[1]}", folder, asked)
        finally:
            running.shutdown()
            thread.join()


def publish(
    folder: Path, server: Server, family: str = "segformer", **metrics: float
) -> dict[str, str]:
    """Write a network of random weights, serve its weights and add it to the folder's metafile.

    Returns:
        The fields of ``mmseg`` in a model's spec.
    """
    folder.mkdir(parents=True, exist_ok=True)
    source = write_network(folder, family)
    weights = Path(source["checkpoint"])
    digits = hashlib.sha256(weights.read_bytes()).hexdigest()[:8]
    served = server.folder / f"v0.5/{family}/{family}-{digits}.pth"
    served.parent.mkdir(parents=True, exist_ok=True)
    weights.rename(served)
    url = f"{server.url}/{served.relative_to(server.folder)}"
    write_metafile(folder, entry(source["config"], url, metrics or SCORES))
    return {"config": source["config"], "weights": "mmseg"}


def entry(config: str, weights: str, metrics: dict[str, float] = SCORES) -> dict[str, Any]:
    """A model of a metafile, as mmseg writes it."""
    path = Path(config)
    results = {"Task": "Semantic Segmentation", "Dataset": "Cityscapes", "Metrics": metrics}
    return {
        "Name": path.stem,
        "Config": f"configs/{path.parent.name}/{path.name}",
        "Weights": weights,
        "Results": results,
        "Metadata": {"Architecture": ["R-50-D8"]},
    }


def write_metafile(folder: Path, *models: dict[str, Any]) -> None:
    """Add models to the metafile of a folder."""
    path = folder / "metafile.yaml"
    known = yaml.safe_load(path.read_text())["Models"] if path.exists() else []
    path.write_text(yaml.safe_dump({"Collections": [], "Models": [*known, *models]}))


def served_file(server: Server) -> Path:
    """The one file of weights that a server has."""
    (path,) = server.folder.rglob("*.pth")
    return path


def named(source: dict[str, str]) -> ModelSpec:
    return ModelSpec.model_validate({"name": "m", "mmseg": source})
