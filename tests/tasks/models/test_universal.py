"""Universal networks of transformers against their own processors, on tiny untrained networks."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from segtransfer.errors import InputError
from segtransfer.tasks.attacks.transforms.views import resize, snap
from segtransfer.tasks.models import adapters
from segtransfer.tasks.models.spec import ModelSpec
from tests.tasks.cases import pictures
from tests.tasks.models.universals import TINY, write_universal

CLASSES = ("road", "sky", "tree", "car", "bus")
SPLIT = {"size": {"shortest_edge": 64, "longest_edge": None}, "do_split_image": True}
BACKBONES = {"MaskFormer": "maskformer-swin", "Eomt": "eomt", "EomtDinov3": "eomt_dinov3"}
Writer = Callable[[str], Path]


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Writer:
    """The folder of a universal network of a kind, as save_pretrained leaves it."""
    folders: dict[str, Path] = {}

    def write(kind: str) -> Path:
        if kind not in folders:
            fields = SPLIT if kind.startswith("Eomt") else {}
            folder = tmp_path_factory.mktemp(kind)
            folders[kind] = write_universal(kind, folder, CLASSES, **fields)
        return folders[kind]

    return write


def spec(folder: Path, **fields: Any) -> ModelSpec:
    return ModelSpec.model_validate({"name": "m", "huggingface": {"model": str(folder)}, **fields})


def change(path: Path, **values: Any) -> None:
    """Set fields of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def tensor(rgb: np.ndarray) -> torch.Tensor:
    return torch.tensor(rgb).float() / 255


def own_prediction(kind: str, folder: Path, rgb: np.ndarray) -> torch.Tensor:
    """Classes N x H x W by transformers' own processor and network, without a resize."""
    images = [image.transpose(1, 2, 0) for image in rgb]
    options: dict[str, Any] = {"do_resize": False, "return_tensors": "pt"}
    if kind == "OneFormer":
        processor = transformers.OneFormerProcessor.from_pretrained(folder)
        inputs = processor(images, task_inputs=["semantic"] * len(images), **options)
    else:
        processor = transformers.AutoImageProcessor.from_pretrained(folder)
        inputs = processor(images, **options)
    network = transformers.AutoModelForUniversalSegmentation.from_pretrained(folder).eval()
    with torch.no_grad():
        outputs = network(**inputs)
    sizes = [image.shape[:2] for image in images]
    return torch.stack(processor.post_process_semantic_segmentation(outputs, target_sizes=sizes))


@pytest.mark.parametrize("kind", TINY)
def test_predictions_are_those_of_the_library_and_gradients_reach_every_pixel(
    kind: str, saved: Writer
) -> None:
    sizes = [(64, 64), (64, 150), (135, 64)] if kind.startswith("Eomt") else [(64, 64), (96, 160)]
    folder = saved(kind)
    adapters.check(spec(folder))
    model = adapters.load(spec(folder))
    found = set()
    for size in sizes:
        rgb = pictures(2, *size)
        images = tensor(rgb).requires_grad_(True)
        logits = model(images)
        assert logits.shape == (2, len(CLASSES), *size)
        assert torch.equal(logits.argmax(1), own_prediction(kind, folder, rgb))
        found |= set(logits.argmax(1).unique().tolist())
        labels = torch.zeros(2, *size, dtype=torch.long)
        gradient = model.gradient(torch.nn.functional.cross_entropy(logits, labels), images)
        assert gradient.isfinite().all()
        assert (gradient != 0).float().mean() > 0.99
    assert len(found) > 1  # a constant prediction would prove nothing


@pytest.mark.parametrize("kind", TINY)
def test_every_size_is_taken_and_dynamic_scaling_reaches_every_pixel(
    kind: str, saved: Writer
) -> None:
    model = adapters.load(spec(saved(kind)))
    for height, width in ((125, 163), (150, 131)):
        for scale in (0.5, 0.75, 1.3, 1.5):
            images = tensor(pictures(1, height, width))
            view = resize(images, snap(height, width, (scale, scale), model.size_divisor))
            seen = view.images.requires_grad_(True)  # to scale down leaves pixels out
            logits = view.logits(model(seen))
            assert logits.shape == (1, len(CLASSES), height, width)
            gradient = model.gradient(logits.square().sum(), seen)
            assert gradient.isfinite().all()
            assert (gradient != 0).float().mean() > 0.99


@pytest.mark.parametrize("kind", ["Mask2Former", "MaskFormer"])
def test_images_are_padded_to_the_divisor_of_the_processor(kind: str, saved: Writer) -> None:
    model = adapters.load(spec(saved(kind)))
    assert model.size_divisor == 32
    images = tensor(pictures(1, 40, 64))
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1).expand(1, 3, 24, 64)
    with torch.inference_mode():
        padded = model(torch.cat([images, mean], 2))
        torch.testing.assert_close(model(images), padded[..., :40, :], rtol=0, atol=1e-5)


def test_an_eomt_sees_windows_of_its_own_size_and_black_beyond_the_image(saved: Writer) -> None:
    model = adapters.load(spec(saved("Eomt")))
    small = tensor(pictures(1, 40, 50))
    with torch.inference_mode():
        padded = torch.nn.functional.pad(small, (0, 14, 0, 24))
        assert torch.equal(model(small), model(padded)[..., :40, :50])
        large = tensor(pictures(1, 100, 128))
        answers = model(large)
        corner = model(large[..., :64, :64])
    assert torch.equal(answers[..., :36, :64], corner[..., :36, :])
    assert model.cost.pixels == 64 * 64 * (1 + 1 + 4 + 1)


@pytest.mark.parametrize("kind", TINY)
def test_description_equals_the_loaded_model(kind: str, saved: Writer) -> None:
    info = adapters.describe(spec(saved(kind)))
    assert info.head == kind
    assert info.classes == CLASSES
    assert info.num_classes == adapters.load(spec(saved(kind))).num_classes == len(CLASSES)
    assert info.backbone.startswith(f"{BACKBONES.get(kind, 'swin')}(")


def test_the_fingerprint_follows_the_tokens_and_the_divisor(saved: Writer, tmp_path: Path) -> None:
    one = Path(shutil.copytree(saved("OneFormer"), tmp_path / "one"))
    before = adapters.describe(spec(one)).fingerprint
    assert before == adapters.describe(spec(saved("OneFormer"))).fingerprint
    change(one / "tokenizer_config.json", pad_token="a", bos_token="b")
    assert adapters.describe(spec(one)).fingerprint != before
    two = Path(shutil.copytree(saved("Mask2Former"), tmp_path / "two"))
    before = adapters.describe(spec(two)).fingerprint
    change(two / "preprocessor_config.json", size={"shortest_edge": 64, "longest_edge": 99})
    assert adapters.describe(spec(two)).fingerprint == before  # sizes are the data's affair
    change(two / "preprocessor_config.json", size_divisor=0)
    assert adapters.describe(spec(two)).fingerprint != before
    assert adapters.load(spec(two)).size_divisor == 4  # the backbone's patches


def test_a_processor_of_one_file_of_its_own_is_read_alike(saved: Writer, tmp_path: Path) -> None:
    """OneFormer's processor was once saved as preprocessor_config.json."""
    folder = Path(shutil.copytree(saved("OneFormer"), tmp_path / "model"))
    fields = json.loads((folder / "processor_config.json").read_text())["image_processor"]
    (folder / "processor_config.json").unlink()
    # This list of classes, for the training, is on the hub alone.
    fields |= {"class_info_file": "ade20k_panoptic.json"}
    (folder / "preprocessor_config.json").write_text(json.dumps(fields))
    ours = [adapters.describe(spec(path)).fingerprint for path in (folder, saved("OneFormer"))]
    assert ours[0] == ours[1]
    adapters.check(spec(folder))


@pytest.mark.parametrize(
    ("kind", "file", "fields", "told"),
    [
        (
            "Mask2Former",
            "preprocessor_config.json",
            {"pad_size": {"height": 640, "width": 640}},
            "sets pad_size .* remove pad_size there",
        ),
        ("OneFormer", "config.json", {"is_training": True}, "set is_training to false there"),
        ("MaskFormer", "config.json", {"architectures": ["MaskFormerModel"]}, "or of model_type"),
        ("MaskFormer", "config.json", {"model_type": "videomt"}, "or of model_type"),
    ],
    ids=["pad_size", "is_training", "no-head", "video"],
)
def test_unsupported_universal_model_is_refused(
    kind: str, file: str, fields: dict[str, Any], told: str, saved: Writer, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(saved(kind), tmp_path / "model"))
    change(folder / file, **fields)
    with pytest.raises(InputError, match=told) as refused:
        adapters.describe(spec(folder))
    assert "\n" not in str(refused.value)


def test_oneformer_without_a_tokenizer_is_refused_with_the_missing_file(
    saved: Writer, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(saved("OneFormer"), tmp_path / "model"))
    before = adapters.describe(spec(folder)).fingerprint
    (folder / "tokenizer.json").unlink()
    assert adapters.describe(spec(folder)).fingerprint == before  # from vocab.json and merges.txt
    (folder / "merges.txt").unlink()
    with pytest.raises(InputError, match=r"tokenizer\.json nor merges\.txt.* tokenizer included$"):
        adapters.describe(spec(folder))
