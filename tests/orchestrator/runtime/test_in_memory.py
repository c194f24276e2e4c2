"""Attack and evaluation of arrays: the bits of an experiment, and a sentence for what is wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import segtransfer
from segtransfer import InputError
from segtransfer.results import Results
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.float32 import kept_precision
from tests import toys
from tests.orchestrator.toy_experiments import run_toy

FIELDS = {"eps": "8/255", "steps": 3}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    attacks = [{"preset": name, **FIELDS} for name in ("ds-mi", "admix")]
    attacks.append({"preset": "noise", "eps": "8/255"})
    folder = tmp_path_factory.mktemp("in-memory")
    return run_toy(folder, attacks=attacks, schedule_groups=8, shard_size=8, seed=5)


def data_of(results: Results) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Ids, images and labels of an experiment, in an order of their own."""
    shards = [results.store.shard(shard) for shard in results.manifest.shards]
    ids = [name for shard in shards for name in shard.image_ids]
    images, labels = (np.concatenate([getattr(s, k) for s in shards]) for k in ("images", "labels"))
    return ids[::-1], images[::-1], labels[::-1]


def stored_aes(results: Results, attack: str, source: str | None) -> dict[str, np.ndarray]:
    """The AEs of an attack in the store, by image id."""
    found = {}
    for cell in results.manifest.cells:
        if (cell.attack, cell.source) == (attack, source):
            images = results.store.attack_images(cell.attack_key)
            ids = results.store.shard(cell.shard_id).image_ids
            found |= dict(zip(ids, images[0], strict=True))
    return found


@pytest.mark.parametrize("attack", ["ds-mi", "admix", "noise"])
def test_aes_equal_those_of_an_experiment(results: Results, attack: str) -> None:
    ids, images, labels = data_of(results)
    fields = FIELDS if attack != "noise" else {"eps": "8/255"}
    model = toys.convolutional(seed=1)
    made = segtransfer.attack(model, images, labels, attack, image_ids=ids, seed=5, **fields)
    stored = stored_aes(results, attack, "a" if attack != "noise" else None)
    assert made.dtype == np.uint8
    for image_id, image in zip(ids, made, strict=True):
        assert np.array_equal(image, stored[image_id]), image_id


def test_scores_equal_those_of_an_experiment(results: Results) -> None:
    ids, images, labels = data_of(results)
    scores = segtransfer.evaluate(toys.convolutional(seed=1), images, labels, image_ids=ids)
    assert scores.miou == pytest.approx(results.clean()["a"])
    assert scores.class_iou == pytest.approx(results.class_iou("clean", None, "a"))
    assert scores.confusions.shape == (6, 3, 3)
    assert scores.predictions.shape == labels.shape
    assert repr(scores) == f"<Scores: mIoU {scores.miou:.1f} % on 6 images, 3 classes>"


def arrays(count: int = 3) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (count, 3, 24, 32), np.uint8)
    return images, generator.integers(0, 3, (count, 24, 32))


def test_tensors_and_callables_give_equal_aes_of_the_given_kind() -> None:
    images, labels = arrays()
    module = toys.convolutional(seed=1)
    made = segtransfer.attack(module, images, labels, "pgd", **FIELDS)
    floats = torch.from_numpy(images).float() / 255
    again = segtransfer.attack(
        lambda x: module(x), floats, torch.from_numpy(labels), "pgd", **FIELDS
    )
    assert torch.is_tensor(again)
    assert again.dtype == torch.uint8
    assert np.array_equal(made, again.numpy())
    linf = np.abs(made.astype(int) - images).max()
    assert 0 < linf <= 8
    spec = AttackSpec.model_validate({"preset": "pgd", **FIELDS})
    assert np.array_equal(made, segtransfer.attack(module, images, labels, spec))
    fewer = segtransfer.attack(module, images, labels, spec, steps=1)
    assert not np.array_equal(made, fewer)


def test_model_in_training_is_unchanged() -> None:
    images, labels = arrays()
    module = toys.convolutional(seed=1)
    module.train().requires_grad_(True)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        state = torch.get_rng_state()
        with torch.inference_mode():
            segtransfer.attack(module, images, labels, "ds", **FIELDS)
        segtransfer.evaluate(module, images, labels)
        assert torch.get_num_threads() == 2
        assert torch.equal(state, torch.get_rng_state())
    finally:
        torch.set_num_threads(threads)
    assert module.training
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert all(parameter.grad is None for parameter in module.parameters())


@pytest.mark.skipif(not hasattr(torch.backends, "fp32_precision"), reason="needs torch 2.9")
def test_precision_set_by_the_user_is_not_used_and_comes_back() -> None:
    images = torch.randint(0, 256, (2, 3, 8, 8)) / 255
    labels = torch.zeros(2, 8, 8, dtype=torch.long)
    seen = []

    def network(pixels: torch.Tensor) -> torch.Tensor:
        seen.append(torch.backends.cudnn.conv.fp32_precision)
        return torch.cat([pixels, pixels.square()], 1)

    with kept_precision():
        torch.backends.cudnn.conv.fp32_precision = "tf32"
        segtransfer.attack(network, images, labels, "pgd", **FIELDS)
        assert torch.backends.cudnn.conv.fp32_precision == "tf32"
    assert seen[-1] == "ieee"


def test_shipped_model_is_loaded_by_name() -> None:
    model = segtransfer.load_model("fcn-r18")
    images = np.random.default_rng(0).integers(0, 256, (1, 3, 64, 96), np.uint8)
    labels = np.zeros((1, 64, 96), np.uint8)
    assert segtransfer.evaluate(model, images, labels).confusion.shape == (11, 11)
    with pytest.raises(InputError, match=r"model: field .zoo.[^\n]*fcn-r18"):
        segtransfer.load_model("fcn-r19")


def _wrong(**changes: Any) -> dict[str, Any]:
    images, labels = arrays()
    return {"model": toys.convolutional(seed=1), "images": images, "labels": labels, **changes}


IMAGES, LABELS = arrays()
WRONG = {
    "other shape": (_wrong(images=IMAGES[0]), r"shape \[3, 24, 32\]\. Pass RGB"),
    "channels last": (_wrong(images=IMAGES.transpose(0, 2, 3, 1)), "of shape N x 3 x H x W"),
    "normalised": (_wrong(images=IMAGES / 127.5 - 1), r"range from -1 to 1\. Pass floats in"),
    "not a number": (_wrong(images=IMAGES * np.nan), "range from nan to nan"),
    "no levels": (_wrong(images=IMAGES / 256), "levels off those of 8-bit pixels"),
    "other integers": (_wrong(images=IMAGES.astype(int)), r"images are int64\. Pass uint8"),
    "a list": (_wrong(images=[1]), r"images are of type list\. Pass a torch tensor"),
    "no class": (_wrong(labels=LABELS + 5), r"labels has values .*allowed are 0 to 2"),
    "fewer labels": (_wrong(labels=LABELS[:2]), r"for 3 images\. Pass class indices"),
    "no callable": (_wrong(model="fcn-r18"), r"model is of type str\. Pass a callable.*load_model"),
    "a mapping": (_wrong(model=lambda x: {"out": x}), r"returned a dict.*\['out'\]"),
    "classes": (_wrong(model=lambda x: x.argmax(1)), "return floating-point logits"),
    "too small": (_wrong(model=lambda x: x[..., :4, :4]), "resized to the size of the images"),
    "raises": (_wrong(model=lambda x: x.nothing), "raised AttributeError"),
    "ids": (_wrong(image_ids=["a", "b"]), "3 images but 2 image_ids"),
    "equal ids": (_wrong(image_ids=["a", "b", "a"]), "two images with the id 'a'"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_raises_a_sentence(case: str) -> None:
    given, message = WRONG[case]
    with pytest.raises(InputError, match=message):
        segtransfer.evaluate(**given)
    with pytest.raises(InputError, match=message):
        segtransfer.attack(**given, attack="pgd", **FIELDS)


@pytest.mark.parametrize(
    ("attack", "fields", "message"),
    [
        ("pdg", {}, "did you mean 'pgd'"),
        ("pgd", {"epz": 1}, "did you mean 'eps'"),
        ("pgd", {"eps": 8}, "did you mean 8/255"),
        ("pgd", {"steps": 4, "steps_at": [1, 4]}, "keeps 2 AEs per image"),
        ("pgd", {"target": {"every": 7}}, "target.every has class index 7"),
        ({"preset": "pgd"}, {"region": {"mask": "nowhere.png"}}, "nowhere.png"),
    ],
)
def test_wrong_attack_raises_a_sentence(attack: Any, fields: dict[str, Any], message: str) -> None:
    images, labels = arrays()
    with pytest.raises(InputError, match=message):
        segtransfer.attack(toys.convolutional(seed=1), images, labels, attack, **fields)


def test_callable_without_a_gradient_raises_a_sentence() -> None:
    images, labels = arrays()
    module = toys.convolutional(seed=1)
    with pytest.raises(InputError, match="without no_grad and detach"):
        segtransfer.attack(lambda x: module(x).detach(), images, labels, "pgd", **FIELDS)


def test_attack_in_memory_writes_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    images, labels = arrays()
    segtransfer.attack(toys.convolutional(seed=1), images, labels, "pgd", **FIELDS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"micro_batch": 0}, "field 'micro_batch': give 1 or more"),
        ({"micro_batch": 1.5}, "field 'micro_batch'"),
        ({"seed": -1}, "field 'seed': give 0 or more"),
        ({"seed": "a"}, "field 'seed'"),
    ],
)
def test_wrong_seed_or_micro_batch_raises_a_sentence(fields: dict[str, Any], message: str) -> None:
    images, labels = arrays(1)
    with pytest.raises(InputError, match=rf"attack\(\): {message}"):
        segtransfer.attack(toys.convolutional(), images, labels, "pgd", **fields)
    if "seed" not in fields:
        with pytest.raises(InputError, match=rf"evaluate\(\): {message}"):
            segtransfer.evaluate(toys.convolutional(), images, labels, **fields)


@pytest.mark.parametrize("wrong", [5, None, ["pgd"]])
def test_attack_or_model_of_a_wrong_type_raises_a_sentence(wrong: Any) -> None:
    images, labels = arrays(1)
    with pytest.raises(InputError, match="attack is of type "):
        segtransfer.attack(toys.convolutional(), images, labels, wrong)
    with pytest.raises(InputError, match="model"):
        segtransfer.load_model(wrong)


def test_more_than_255_classes_are_refused() -> None:
    images, labels = arrays(1)
    wide = torch.nn.Conv2d(3, 256, 1)
    with pytest.raises(InputError, match=r"logits of 256 classes\. At most 255 classes"):
        segtransfer.evaluate(wide, images, labels)
