"""Small trained models that ship: mmseg configs, fp16 weights, and what is known of them."""

import json
from dataclasses import dataclass
from pathlib import Path

SHIPPED_FILES = Path(__file__).resolve().parent


@dataclass(frozen=True)
class ZooModel:
    """A shipped model: its files, its weights' sha256 and its class list."""

    name: str
    sha256: str
    description: str
    backbone: str
    classes: tuple[str, ...]

    @property
    def config(self) -> Path:
        return SHIPPED_FILES / f"{self.name}.py"

    @property
    def weights(self) -> Path:
        return SHIPPED_FILES / f"{self.name}.safetensors"


def _read() -> dict[str, ZooModel]:
    manifest = json.loads((SHIPPED_FILES / "zoo.json").read_text())
    classes = tuple(manifest["classes"])
    return {n: ZooModel(name=n, classes=classes, **m) for n, m in manifest["models"].items()}


ZOO = _read()
