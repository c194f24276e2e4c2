"""Attacks on classifiers: on a linear classifier the best perturbation is known in closed form."""

from typing import Any

import numpy as np
import pytest
import torch

from segtransfer.tasks.attack import AttackResult, attack
from segtransfer.tasks.attacks.presets import PRESETS
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.evaluate import evaluate
from segtransfer.tasks.models import adapters
from segtransfer.tasks.models.base import Segmenter
from segtransfer.tasks.models.spec import ModelSpec

EPS = 8
WEIGHTS = [[3.0, -1.0, 0.5], [-2.0, 2.0, 0.5], [0.0, 0.0, 4.0]]


def classifier(weights: list[list[float]] = WEIGHTS[:2], **fields: Any) -> Segmenter:
    source = {"callable": "tests.toys:pooled", "arguments": {"weights": weights}}
    spec = {"name": "toy", "torch": {**source, "classifier": True}, **fields}
    return adapters.load(ModelSpec.model_validate(spec))


def images_and_labels() -> tuple[np.ndarray, np.ndarray]:
    """Return images away from 0 and 255, and labels of a dominant class, 0 then 1."""
    images = np.random.default_rng(0).integers(40, 200, (2, 3, 32, 48), np.uint8)
    labels = np.zeros((2, 32, 48), np.uint8)
    labels[0, :5], labels[1, :20] = 1, 1
    labels[:, -1] = 255
    return images, labels


def make_spec(**fields: Any) -> AttackSpec:
    return AttackSpec.model_validate({"name": "attack", **fields})


def made(model: Segmenter, spec: AttackSpec) -> AttackResult:
    images, labels = images_and_labels()
    return attack(model, spec, images, labels, ["p", "q"], seed=0, group=0, micro_batch=2)


@pytest.mark.parametrize("preset", ["pgd", "mi", "ds", "si", "rdi"])
def test_linear_classifier_gets_the_sign_of_the_weight_difference(preset: str) -> None:
    images, _ = images_and_labels()
    spec = make_spec(preset=preset, eps=f"{EPS}/255", steps=4, start="clean")
    ours = made(classifier(), spec).images[0].astype(int) - images
    towards = np.sign(np.array(WEIGHTS[1]) - WEIGHTS[0])
    for image, sign in enumerate((1, -1)):
        for channel in range(3):
            wanted = sign * EPS * towards[channel]
            if wanted:  # without a gradient, resizing decides by its rounding errors
                assert (ours[image, channel] == wanted).all()


def test_targeted_attack_reaches_the_class_of_the_image() -> None:
    _, labels = images_and_labels()
    spec = make_spec(preset="pgd", eps="120/255", steps=20, target={"every": 2})
    model = classifier(WEIGHTS)
    found = made(model, spec).images[0]
    scored = evaluate(model, found, labels, num_classes=3, micro_batch=2)
    assert scored.predictions.shape == (2, 1, 1)
    assert (scored.predictions == 2).all()
    assert scored.confusions.sum((1, 2)).tolist() == [1, 1]
    assert scored.confusions[0, 0, 2] == scored.confusions[1, 1, 2] == 1


def test_region_of_classes_reads_the_classes_of_pixels() -> None:
    images, labels = images_and_labels()
    spec = make_spec(preset="pgd", eps="8/255", steps=4, region={"classes": [1]})
    changed = (made(classifier(), spec).images[0] != images).any(1)
    assert not changed[labels != 1].any()
    assert changed[labels == 1].all()


@pytest.mark.parametrize("preset", sorted(PRESETS.keys() - {"sgm"}))  # sgm needs a ResNet
def test_every_preset_works_on_a_classifier(preset: str) -> None:
    spec = make_spec(preset=preset, eps="8/255")
    pair = [{"name": n, "torch": {"callable": "tests.toys:pooled", "arguments": {"weights": w},
                                  "classifier": True}}
            for n, w in (("a", WEIGHTS), ("b", WEIGHTS[::-1]))]  # fmt: skip
    ensemble = adapters.load(ModelSpec.model_validate({"ensemble": pair}))
    model = ensemble if spec.gradient is not None else classifier(WEIGHTS)
    if spec.reads_features:
        spec = spec.model_copy(update={"layer": "module.features"})
    images, _ = images_and_labels()
    result = made(model, spec)
    assert np.abs(result.images.astype(int) - images).max() <= EPS


@pytest.mark.parametrize(
    "defences", [["flip"], [{"scales": [0.5, 1.5]}], [{"smooth": 1}], [{"bits": 4}], ["resize-pad"]]
)
def test_defended_classifier_keeps_a_class_per_image(defences: list[Any]) -> None:
    images, labels = images_and_labels()
    model = classifier(WEIGHTS, defences=defences)
    scored = evaluate(model, images, labels, num_classes=3, micro_batch=2)
    plain = evaluate(classifier(WEIGHTS), images, labels, num_classes=3, micro_batch=2)
    assert (scored.predictions == plain.predictions).all()  # the mean colour survives all of them


def test_scaled_classifier_sees_resized_images() -> None:
    images, labels = images_and_labels()
    model = classifier(WEIGHTS, inference={"mode": "whole", "scale": 0.5})
    assert evaluate(model, images, labels, num_classes=3, micro_batch=2).predictions.shape[1:] == (
        1,
        1,
    )
    assert model.pixels_seen(32, 48) == 16 * 24


def test_segmenter_marked_as_classifier_is_refused() -> None:
    source = {"callable": "tests.toys:linear", "arguments": {"weights": WEIGHTS}}
    spec = {"name": "toy", "torch": {**source, "classifier": True}}
    model = adapters.load(ModelSpec.model_validate(spec))
    with pytest.raises(Exception, match="is marked as a classifier, and returned logits of shape"):
        model(torch.zeros(1, 3, 32, 32))


def test_classifier_without_the_mark_is_refused() -> None:
    source = {"callable": "tests.toys:pooled", "arguments": {"weights": WEIGHTS}}
    model = adapters.load(ModelSpec.model_validate({"name": "toy", "torch": source}))
    with pytest.raises(
        Exception, match="or set classifier: true for a model with a class per image"
    ):
        model(torch.zeros(1, 3, 32, 32))


def test_windows_of_a_classifier_are_refused_at_planning() -> None:
    source = {"callable": "tests.toys:pooled", "arguments": {"weights": WEIGHTS}}
    slide = {"mode": "slide", "crop": [16, 16], "stride": [8, 8]}
    spec = {"name": "toy", "torch": {**source, "classifier": True}, "inference": slide}
    with pytest.raises(Exception, match=r"is a classifier, and inference\.mode is slide"):
        adapters.describe(ModelSpec.model_validate(spec))


def test_ensemble_of_a_classifier_and_a_segmenter_is_refused() -> None:
    arguments = {"weights": WEIGHTS}
    members = [
        {"name": "a", "torch": {"callable": "tests.toys:linear", "arguments": arguments}},
        {"name": "b", "torch": {"callable": "tests.toys:pooled", "arguments": arguments,
                                "classifier": True}},
    ]  # fmt: skip
    with pytest.raises(Exception, match="and their logits have no mean"):
        adapters.describe(ModelSpec.model_validate({"ensemble": members}))


def test_mark_changes_the_fingerprint_and_false_does_not() -> None:
    source = {"callable": "tests.toys:pooled", "arguments": {"weights": WEIGHTS}}

    def described(**fields: Any) -> str:
        spec = {"name": "toy", "torch": {**source, **fields}}
        return adapters.describe(ModelSpec.model_validate(spec)).fingerprint

    assert described() == described(classifier=False) != described(classifier=True)
