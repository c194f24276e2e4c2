"""The attack task: a shard in micro-batches, its 8-bit result, its report, and files."""

import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from segtransfer.errors import InputError, SegtransferError
from segtransfer.tasks.ae_files import read_files
from segtransfer.tasks.attack import attack
from segtransfer.tasks.attacks.losses import LossContext
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.perturbation import levels, statistics
from tests.tasks.attacks.specs import FORMS
from tests.tasks.cases import annotations, ids, pictures, spec, toy

ATTACKS: dict[str, dict[str, Any]] = {
    "pgd": {},
    "pgd from a random start": {"start": "uniform"},
    "mi": {"momentum": {"mu": 1.0}},
    "ni": {"momentum": {"nesterov": True}},
    "ds, logits": {"transforms": ["ds"]},
    "ds, labels, mi": {"transforms": ["ds"], "label_version": "labels", "momentum": {}},
    "ds, cut": {"transforms": [{"ds": {"handling": "native", "scales": 2}}]},
    "masked": {"loss": "masked-cross-entropy"},
    "vt, ti": {"variance": {"neighbours": 2}, "smoothing": "ti"},
    "ssa, di": {"transforms": [{"ssa": {"copies": 2}}, "di"]},
    "l2": {"norm": "l2", "start": "uniform", "scores": ["raw", "equal-rms"]},
    "scaled forms": {"scores": ["equal-rms@0.5", "equal-rms@1.5", "smooth"]},
    "restarts": {"start": "uniform", "restarts": 2, "steps_at": [1, 4]},
    "region, target": {"region": {"classes": [0]}, "target": {"every": 1}},
}


@pytest.mark.parametrize("fields", ATTACKS.values(), ids=ATTACKS)
@pytest.mark.parametrize("toy_name", ["staged", "linear"])
def test_an_image_fares_the_same_alone_and_in_any_shard_and_micro_batch(
    toy_name: str, fields: dict[str, Any]
) -> None:
    arguments = {"weights": [[1.0, -0.5, 0.2], [-0.3, 0.8, 0.1]]} if toy_name == "linear" else {}
    model = toy(toy_name, **arguments)
    images, labels, names = pictures(5, 12, 18), annotations(5, 12, 18, 2), ids(5)
    rule = spec(steps=4, **fields)

    def run(chosen: list[int], micro_batch: int) -> np.ndarray:
        return attack(
            model,
            rule,
            images[chosen],
            labels[chosen],
            [names[i] for i in chosen],
            seed=3,
            group=2,
            micro_batch=micro_batch,
        ).images

    together = run([0, 1, 2, 3, 4], 5)
    assert together.shape == (len(rule.variants), 5, 3, 12, 18)
    assert not np.array_equal(together[0], images)
    for micro_batch in (1, 2, 3):
        assert np.array_equal(run([0, 1, 2, 3, 4], micro_batch), together)
    for i in range(5):
        assert np.array_equal(run([i], 1)[:, 0], together[:, i])
    assert np.array_equal(run([4, 1], 2), together[:, [4, 1]])


def test_noise_needs_no_source_and_fills_the_ball() -> None:
    images, labels = pictures(2, 16, 16), annotations(2, 16, 16, 2)
    rule = spec("noise", eps="8/255")
    result = attack(None, rule, images, labels, ids(2), seed=0, group=0, micro_batch=2)
    assert result.report["cost"] == {}
    (perturbation,) = result.report["perturbation"]
    assert perturbation["linf"] == [8, 8]
    assert 0.35 < perturbation["mean_abs"][0] < 0.55


def test_an_attack_of_some_steps_without_a_source_is_a_mistake() -> None:
    images, labels = pictures(1, 8, 8), annotations(1, 8, 8, 2)
    with pytest.raises(ValueError, match="needs a source model"):
        attack(None, spec("pgd"), images, labels, ids(1), seed=0, group=0, micro_batch=1)


@pytest.mark.parametrize("score", FORMS)
@pytest.mark.parametrize("eps", [0.03, "8/255", "2/255"])
def test_stored_examples_hold_the_integer_bound(eps: Any, score: str) -> None:
    images, labels = pictures(2, 10, 14), annotations(2, 10, 14, 3)
    rule = spec("pgd", eps=eps, steps=5, scores=[score], equal_rms=1)
    result = attack(
        toy("convolutional"), rule, images, labels, ids(2), seed=0, group=0, micro_batch=2
    )
    distance = np.abs(result.images.astype(int) - images).max()
    assert distance == int(np.floor(rule.eps * 255 + 1e-6))


@pytest.mark.parametrize("score", FORMS)
@pytest.mark.parametrize("eps", [0.03, "8/255", "1/255", 0.002])
def test_stored_examples_hold_the_root_mean_square(eps: Any, score: str) -> None:
    images, labels = pictures(2, 10, 14), annotations(2, 10, 14, 3)
    rule = spec("mi", norm="l2", eps=eps, scores=[score], equal_rms=1)
    result = attack(
        toy("convolutional"), rule, images, labels, ids(2), seed=0, group=0, micro_batch=2
    )
    delta = result.images.astype(float) - images
    rms = np.sqrt((delta**2).mean((2, 3, 4)))
    assert rms.max() <= rule.eps * 255 + 1e-6
    if levels(rule.eps) > 1:
        assert rms.min() > 0.8 * rule.eps * 255


def test_the_report_tells_the_cost_the_health_and_the_perturbation() -> None:
    model = toy("convolutional")
    images, labels = pictures(5, 8, 10), annotations(5, 8, 10, 3)
    rule = spec("pgd", steps=3, steps_at=[1, 3], scores=["raw", "eps*sign"])
    result = attack(model, rule, images, labels, ids(5), seed=0, group=0, micro_batch=2)
    cost = result.report["cost"]
    assert (cost["forwards"], cost["backwards"], cost["pixels"]) == (15, 15, 15 * 80)
    health = result.report["health"]
    assert [len(h["losses"]) for h in health] == [3, 3, 3]
    assert [len(h["losses"][0]) for h in health] == [2, 2, 1]
    assert [len(h["zero_gradients"][0]) for h in health] == [2, 2, 1]
    assert [h["ratios"] for h in health] == [[[1.0]] * 3] * 3
    expected = [statistics(made, images, rule.eps) for made in result.images]
    assert result.report["perturbation"] == expected
    assert len(expected) == len(rule.variants) == 4


def test_cost_is_of_the_call_alone() -> None:
    model = toy("convolutional")
    images, labels = pictures(2, 8, 10), annotations(2, 8, 10, 3)
    for _ in range(2):
        result = attack(
            model, spec(steps=3), images, labels, ids(2), seed=0, group=0, micro_batch=2
        )
        assert result.report["cost"]["forwards"] == 6


def rooted(logits: torch.Tensor, labels: torch.Tensor, context: LossContext) -> torch.Tensor:
    """From the second step on the square root of 0, whose gradient is not a number."""
    return (logits.square().sum((1, 2, 3)) * (context.step == 0)).sqrt()


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"norm": "l2"},
        {"momentum": {"nesterov": True}},
        {"variance": {"neighbours": 1}, "smoothing": "ti"},
        {"start": "uniform", "restarts": 2, "steps_at": [1, 3]},
    ],
    ids=str,
)
def test_a_step_that_is_not_a_number_fails_the_task_in_a_sentence(fields: dict[str, Any]) -> None:
    own = spec(steps=3, loss=f"{__name__}:rooted", **fields)
    broken = toy("quadratic", centre=[0.5] * 3, curvature="nan")
    for model, rule, step, loss in (
        (toy("convolutional"), own, 2, 0),
        (broken, spec(steps=3, **fields), 1, "nan"),
    ):
        images, labels = pictures(2, 8, 10), annotations(2, 8, 10, 2)
        with pytest.raises(
            InputError, match=f"image image-0 .* at step {step}, with .* = {loss}; "
        ):
            attack(model, rule, images, labels, ids(2), seed=0, group=0, micro_batch=2)


def write(folder: Path, images: np.ndarray) -> Path:
    folder.mkdir()
    for name, image in zip(ids(len(images)), images, strict=True):
        Image.fromarray(image.transpose(1, 2, 0)).save(folder / f"{name}.png")
    return folder


def files(folder: Path, **fields: Any) -> AttackSpec:
    return AttackSpec.model_validate({"name": "made", "files": str(folder), **fields})


def read(rule: AttackSpec, images: np.ndarray) -> Any:
    labels = annotations(len(images), *images.shape[-2:], 2)
    return attack(None, rule, images, labels, ids(len(images)), seed=0, group=0, micro_batch=2)


def shifted(images: np.ndarray, by: int) -> np.ndarray:
    return np.clip(images.astype(int) + by, 0, 255).astype(np.uint8)


def test_files_made_elsewhere_are_read_unchanged(tmp_path: Path) -> None:
    images = pictures(3, 8, 10)
    made = shifted(images, 8)
    result = read(files(write(tmp_path / "made", made), eps="8/255"), images)
    assert np.array_equal(result.images, made[None])
    assert result.report["perturbation"] == [statistics(made, images, 8 / 255)]
    assert result.report["health"] == []
    assert result.report["cost"] == {}
    part = read(files(tmp_path / "made", eps="8/255"), images[:2])
    assert np.array_equal(part.images[0], made[:2])


def test_files_outside_the_ball_are_refused_with_their_distance(tmp_path: Path) -> None:
    images = pictures(2, 8, 10) // 2
    folder = write(tmp_path / "made", shifted(images, 9))
    sentence = (
        r"image-0.png differs from its image by 9 levels \(RMS 9.00\), eps is 8 levels under linf"
    )
    with pytest.raises(InputError, match=sentence):
        read(files(folder, eps="8/255"), images)
    assert read(files(folder, eps="9/255"), images).images.shape == (1, 2, 3, 8, 10)
    with pytest.raises(InputError, match="eps is 8 levels under l2"):
        read(files(folder, eps="8/255", norm="l2"), images)
    assert read(files(folder, eps="9/255", norm="l2"), images).images.shape == (1, 2, 3, 8, 10)


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    images = pictures(2, 8, 10)
    folder = write(tmp_path / "made", images[..., :6])
    with pytest.raises(InputError, match=r"image-0.png is 8 x 6 \(height x width\), the image is"):
        read(files(folder), images)
    few = write(tmp_path / "few", images[:1])
    with pytest.raises(InputError, match=r"attack 'made': image image-1 has no .*image-1.png"):
        read(files(few), images)
    torn = write(tmp_path / "torn", images)
    (torn / "image-1.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"image-1.png cannot be read"):
        read(files(torn), images)


def test_files_of_images_in_folders_lie_in_folders_or_under_their_safe_names(
    tmp_path: Path,
) -> None:
    images = pictures(1, 8, 10)
    deep, flat = tmp_path / "deep", tmp_path / "flat"
    for path in (deep / "city" / "one.png", flat / "city%2Fone.png"):
        path.parent.mkdir(parents=True)
        Image.fromarray(images[0].transpose(1, 2, 0)).save(path)
    for folder in (deep, flat):
        assert np.array_equal(read_files(files(folder), images, ["city/one"]), images)
    planned = files(deep)
    Image.fromarray(shifted(images[0], 1).transpose(1, 2, 0)).save(deep / "city" / "one.png")
    with pytest.raises(InputError, match="changed or vanished since the plan"):
        read_files(planned, images, ["city/one"])


@pytest.mark.parametrize("forms", [("NFD", "NFC"), ("NFC", "NFD")])
def test_files_are_found_in_either_unicode_normal_form(
    forms: tuple[str, str], tmp_path: Path
) -> None:
    images = pictures(1, 8, 10)
    file, image_id = (unicodedata.normalize(form, "zoë/é") for form in forms)
    (tmp_path / file).parent.mkdir()
    Image.fromarray(images[0].transpose(1, 2, 0)).save(tmp_path / f"{file}.png")
    (tmp_path / file).with_name("._é.png").write_bytes(b"Mac OS X")
    assert np.array_equal(read_files(files(tmp_path), images, [image_id]), images)


def test_files_changed_since_the_plan_are_refused(tmp_path: Path) -> None:
    images = pictures(2, 8, 10)
    folder = write(tmp_path / "made", images)
    planned = files(folder)
    Image.fromarray(shifted(images[1], 1).transpose(1, 2, 0)).save(folder / "image-1.png")
    with pytest.raises(InputError, match="changed or vanished since the plan"):
        read(planned, images)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    with pytest.raises(InputError, match="changed or vanished since the plan"):
        read(planned, images)


def test_an_eight_bit_image_outside_the_ball_fails_the_task_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    far = "segtransfer.tasks.attack.quantise"
    monkeypatch.setattr(far, lambda x, clean, rule: np.full_like(clean, 255))
    images, labels = pictures(2, 12, 18), annotations(2, 12, 18, 2)
    rule = spec("pgd", eps="4/255")
    with pytest.raises(
        SegtransferError, match=r"'pgd': an AE differs by \d+ levels .* eps is 4 levels u"
    ):
        attack(
            toy("linear", weights=[[1.0, 0.0, 0.0]] * 2),
            rule,
            images,
            labels,
            ids(2),
            seed=0,
            group=0,
            micro_batch=2,
        )
