"""Small trained models in this package: mmseg configs, fp16 weights, and descriptions."""

import json
from dataclasses import dataclass
from pathlib import Path

SHIPPED_FILES = Path(__file__).resolve().parent


@dataclass(frozen=True)
class ZooModel:
    """A shipped model.

    Attributes:
        name: The name of the model and of its files.
        sha256: The sha256 of the weights.
        description: A line of text.
        backbone: The family of the backbone, by which results group models.
        classes: The class names, by index.
    """

    name: str
    sha256: str
    description: str
    backbone: str
    classes: tuple[str, ...]

    @property
    def config(self) -> Path:
        """Return the file of the mmseg config."""
        return SHIPPED_FILES / f"{self.name}.py"

    @property
    def weights(self) -> Path:
        """Return the file of the weights."""
        return SHIPPED_FILES / f"{self.name}.safetensors"


def _read() -> dict[str, ZooModel]:
    manifest = json.loads((SHIPPED_FILES / "zoo.json").read_text())
    classes = tuple(manifest["classes"])
    return {n: ZooModel(name=n, classes=classes, **m) for n, m in manifest["models"].items()}


ZOO = _read()
