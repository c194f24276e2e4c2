"""Chains of defences: their order, cost, identity, and the independence of images."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from segtransfer.errors import InputError
from segtransfer.tasks.attack import attack
from segtransfer.tasks.models import adapters
from segtransfer.tasks.models.base import Segmenter
from segtransfer.tasks.models.defences import DEFENCES
from segtransfer.tasks.models.defences.base import DefenceSpec
from segtransfer.tasks.models.defended import DefendedSegmenter
from segtransfer.tasks.models.description import with_defences
from segtransfer.tasks.models.probe import examine
from segtransfer.tasks.models.spec import ModelSpec
from tests.tasks.cases import annotations, ids, pictures
from tests.tasks.cases import spec as attack_spec
from tests.tasks.foreign import write_module
from tests.tasks.models.defences.toys import pixels, spec, toy

ALL = [{"jpeg": 60}, {"bits": 5}, "resize-pad", {"smooth": 0.7}, {"scales": [0.75, 1]}, "flip"]
# Another value of each field of each defence.
CHANGED: dict[str, dict[str, Any]] = {
    "jpeg": {"quality": 50},
    "bits": {"bits": 3},
    "resize-pad": {"low": 0.9, "high": 1.3},
    "smooth": {"sigma": 2},
    "scales": {"scales": [0.5, 1]},
    "flip": {},
}


def fingerprint(*defences: Any) -> str:
    return adapters.describe(spec(*defences)).fingerprint


def innermost(model: Segmenter) -> Segmenter:
    return innermost(model.inner) if isinstance(model, DefendedSegmenter) else model  # type: ignore


@pytest.mark.parametrize("defences", [ALL, *([one] for one in ALL)], ids=str)
def test_logits_of_an_image_depend_neither_on_its_batch_nor_on_the_call(defences: list) -> None:
    images, model = pixels(4, 3, 24, 32), toy(*defences)
    with torch.inference_mode():
        whole = model(images)
        assert whole.shape == (4, 3, 24, 32)
        assert torch.equal(whole, torch.cat([model(images[i : i + 1]) for i in range(4)]))
    examine(model)
    assert model.deterministic


@pytest.mark.parametrize("defences", [ALL, *([one] for one in ALL)], ids=str)
def test_cost_is_the_pixels_that_the_network_sees(defences: list) -> None:
    model, seen = toy(*defences, size_divisor=8), []
    network = innermost(model)
    logits = network.logits
    network.logits = lambda x: seen.append(len(x) * x.shape[-2] * x.shape[-1]) or logits(x)  # type: ignore
    with torch.inference_mode():
        model(pixels(2, 3, 40, 56))
    assert model.cost.pixels == sum(seen) == 2 * model.pixels_seen(40, 56)
    assert model.cost.forwards == 2


def test_cost_of_an_attack_is_relative_to_a_forward_of_the_defended_model() -> None:
    images, labels = pictures(2, 24, 32), annotations(2, 24, 32, classes=3)
    made = attack(toy("flip", "scales"), attack_spec("pgd", eps="8/255", steps=3), images, labels,
                  ids(2), seed=0, group=0, micro_batch=2)  # fmt: skip
    assert made.report["cost"]["forward_equivalents"] == [3]
    assert made.report["cost"]["forwards"] == made.report["cost"]["backwards"] == 6
    sizes = 18 * 24 + 24 * 32 + 30 * 40
    assert made.report["cost"]["pixels"] == 3 * 2 * 2 * sizes


def test_first_defence_acts_on_the_image_first() -> None:
    images = pixels(1, 3, 16, 16)
    chain = toy({"smooth": 2}, {"bits": 1})
    assert isinstance(chain, DefendedSegmenter)
    smoothed = toy({"smooth": 2}).defence.defended(images)  # type: ignore
    with torch.inference_mode():
        assert torch.equal(chain(images), toy({"bits": 1})(smoothed))
        assert not torch.equal(chain(images), toy({"bits": 1}, {"smooth": 2})(images))


def test_defences_stand_inside_the_label_map() -> None:
    label_map = {"a": "road", "b": "road", "c": "sky"}
    fields = {"classes": list(label_map), "label_map": label_map}
    mapped = ModelSpec.model_validate({**spec("flip").model_dump(), **fields})
    images = pixels(1, 3, 16, 16)
    with torch.inference_mode():
        own = toy("flip")(images)
        assert torch.equal(
            adapters.load(mapped)(images), torch.stack([own[:, :2].amax(1), own[:, 2]], 1)
        )


def test_every_field_the_order_and_the_version_change_the_fingerprint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert CHANGED.keys() == DEFENCES.keys()
    found = [fingerprint(), fingerprint("flip", "scales"), fingerprint("scales", "flip")]
    for name, fields in CHANGED.items():
        assert fields.keys() == DEFENCES[name].model_fields.keys() - {"kind"}
        found.append(fingerprint(name))
        found += [fingerprint({name: {field: value}}) for field, value in fields.items()]
    info = adapters.describe(spec())
    before = with_defences(info, spec("flip").defences).fingerprint
    monkeypatch.setattr(DEFENCES["flip"], "version", 2)
    found.append(with_defences(info, spec("flip").defences).fingerprint)
    assert before in found
    assert len(set(found)) == len(found)


def test_model_without_defences_is_as_before() -> None:
    assert not isinstance(toy(), DefendedSegmenter)
    plain, defended = (adapters.describe(spec(*chain)) for chain in ((), ("flip",)))
    assert plain.undefended == ()
    assert defended.undefended == (plain.fingerprint,)
    assert "defences" not in spec().identity_fields()


def test_short_and_whole_forms_are_the_same_spec() -> None:
    short = spec({"jpeg": 60}, {"bits": 4}, {"scales": [1, "5/4"]}, "flip")
    whole = spec(
        {"jpeg": {"quality": 60}},
        {"kind": "bits", "bits": 4},
        {"scales": {"scales": [1, 1.25]}},
        {"flip": {}},
    )
    assert short == whole == ModelSpec.model_validate(short.model_dump(mode="json"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("jpg", "unknown defence 'jpg'; did you mean 'jpeg'"),
        ({"jpeg": 0}, "greater than or equal to 1"),
        ({"bits": 9}, "less than or equal to 8"),
        ({"smooth": 0}, "greater than 0"),
        ({"scales": []}, "at least 1 item"),
        ({"resize-pad": {"low": 2}}, "high is 1.10702, below low, which is 2"),
        ({"flip": True}, "the fields of defence 'flip' are 'True'"),
    ],
)
def test_wrong_defence_is_refused(wrong: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        spec(wrong)


def test_defences_of_an_ensemble_belong_to_its_members() -> None:
    members = [spec("flip").model_dump() | {"name": name} for name in "ab"]
    whole = ModelSpec.model_validate({"name": "e", "ensemble": members})
    info = adapters.describe(whole)
    assert info.undefended == (fingerprint(),) * 2
    with pytest.raises(ValidationError, match="has defences; give defences to the members"):
        ModelSpec.model_validate({"name": "e", "ensemble": members, "defences": ["flip"]})


OWN = """
from segtransfer.extend import DefenceSpec, Number


class Darker(DefenceSpec):
    by: Number = 0.5

    def logits(self, images, model):
        return model.checked_logits(images * self.by).float()


class Broken(DefenceSpec):
    def logits(self, images, model):
        raise ValueError("no such luck")
"""


def test_defence_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_module(tmp_path, "my_defences", OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    images = pixels(1, 3, 16, 16)
    with torch.inference_mode():
        found = toy({"my_defences:Darker": {"by": 0.25}})(images)
        assert torch.equal(found, toy()(images * 0.25))
    prints = {fingerprint({"my_defences:Darker": {"by": by}}) for by in (0.25, 0.5)}
    assert len(prints | {fingerprint()}) == 3
    with pytest.raises(InputError, match=r"model 'm', on images of 16 x 16 .*no such luck"):
        toy("my_defences:Broken")(images)


def test_every_shipped_defence_has_a_description() -> None:
    for name, entry in DEFENCES.items():
        assert issubclass(entry, DefenceSpec)
        assert entry.model_validate({"kind": name}).kind == name  # all fields have defaults
        assert (entry.__doc__ or "").strip()


def test_feature_loss_through_several_views_is_refused() -> None:
    images, labels = pictures(1, 24, 32), annotations(1, 24, 32, classes=3)
    rule = attack_spec("fspgd", eps="8/255", steps=1, layer="backbone")
    with pytest.raises(InputError, match=r"ran 2 times per image.*leave out the defences flip"):
        attack(toy("flip"), rule, images, labels, ids(1), seed=0, group=0, micro_batch=1)
