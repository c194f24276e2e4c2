"""What a user has and does: data and a spec in the working folder, and the command."""

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image
from typer.testing import CliRunner, Result

from segtransfer import open_results
from segtransfer.cli import app
from tests import foreign_models

CLASSES = ["c0", "c1", "c2"]
SIZE = (16, 16)
NOISE = {"preset": "noise", "eps": "1/255"}
PGD = {"preset": "pgd", "eps": "4/255", "steps": 1}
CONFIG = """
test_dataloader = dict(dataset=dict(
    type='BaseSegDataset', data_root='data', img_suffix='{suffix}', seg_map_suffix='{label_suffix}',
    data_prefix=dict(img_path='images', seg_map_path='labels'), metainfo=dict(classes={classes}),
    pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]))
test_evaluator = dict(type='IoUMetric')
"""


def label(number: int = 0, classes: int = 3) -> np.ndarray:
    """Blocks of 4 x 4 pixels of classes; every class occurs."""
    blocks = np.random.default_rng(number).permutation(np.arange(16) % classes).reshape(4, 4)
    return np.kron(blocks, np.ones((4, 4))).astype(np.uint8)


def photo(number: int = 0, classes: int = 3) -> np.ndarray:
    """The image whose right answer is ``label``: class k where the grey is 40 k."""
    return np.stack([label(number, classes) * 40] * 3, -1)


def write_data(root: Path, split: str = "", count: int = 2) -> None:
    for part, content in (("images", photo), ("labels", label)):
        (root / part / split).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            Image.fromarray(content(number)).save(root / part / split / f"i{number}.png")


def replace_file(path: Path, content: np.ndarray | Image.Image, name: str, **saving: Any) -> Path:
    """Put another file, called ``name``, in the place of a file."""
    path.unlink()
    image = content if isinstance(content, Image.Image) else Image.fromarray(content)
    image.save(path.with_name(name), **saving)
    return path.with_name(name)


def write_config(
    folder: Path, suffix: str = ".png", label_suffix: str = ".png", classes: tuple[str, ...] = ()
) -> dict[str, str]:
    """Write an mmseg config of the data; returns ``data`` of a spec."""
    known = repr(classes or tuple(CLASSES))
    text = CONFIG.format(suffix=suffix, label_suffix=label_suffix, classes=known)
    (folder / "config.py").write_text(text)
    return {"mmseg": "config.py"}


def model(function: str = "right", name: str = "m", **source: Any) -> dict[str, Any]:
    """A model of ``foreign_models`` or of ``strangers``."""
    module = "foreign_models" if hasattr(foreign_models, function) else "cases.strangers"
    return {"name": name, "torch": {"callable": f"tests.{module}:{function}", **source}}


def ensemble(*functions: str, average: str = "logits") -> dict[str, Any]:
    members = [model(function, function) for function in functions]
    return {"name": "e", "ensemble": members, "average": average}


def spec(**changes: Any) -> dict[str, Any]:
    runtime = {"executor": "inline", "store": "store", "tracking": False}
    return {
        "data": {"folder": "data", "classes": CLASSES},
        "models": [model()],
        "attacks": [NOISE],
        "runtime": runtime | changes.pop("runtime", {}),
        **changes,
    }


def command(*arguments: str, **changes: Any) -> Result:
    """``segtransfer run``, or other arguments, on a spec in the working folder."""
    Path("spec.yaml").write_text(yaml.safe_dump(spec(**changes), allow_unicode=True))
    return CliRunner().invoke(app, list(arguments) or ["run", "spec.yaml"])


def told(answer: Result) -> str:
    return " ".join(answer.output.split())


def assert_scores(answer: Result, clean: float = 100.0) -> None:
    """The run ended well, and every model scores ``clean`` percent on the clean images."""
    assert answer.exit_code == 0, answer.output
    found = open_results("store")[-1].clean("miou").to_numpy()
    assert np.allclose(found, clean), found


def assert_refused(answer: Result, *sentences: str) -> None:
    """A sentence per wrong field, and exit code 2 before anything was computed."""
    assert answer.exit_code == 2, answer.output
    assert all(part in told(answer) for part in sentences), answer.output
    sentence, *rest = answer.stderr.strip().splitlines()
    assert sentence.startswith("error: "), answer.stderr
    for line in rest:
        assert line.startswith("Full error: ") or ": field '" in line, answer.stderr
    assert not Path("store", "rows").exists()


def assert_failed(answer: Result, *sentences: str) -> None:
    """Tasks failed in a sentence, without a number in their place."""
    assert answer.exit_code == 1, answer.output
    assert all(part in told(answer) for part in sentences), answer.output
    assert "not measured" in told(answer)
    assert "Traceback (" not in answer.output
