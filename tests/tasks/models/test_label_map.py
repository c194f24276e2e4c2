"""Label maps: the model's own prediction, renamed into the classes of the data."""

from typing import Any

import pytest
import torch

from segtransfer.errors import InputError
from segtransfer.tasks.models import adapters
from segtransfer.tasks.models.label_map import join
from segtransfer.tasks.models.spec import ModelSpec
from segtransfer.tasks.models.zoo import ZOO
from tests.tasks.models.test_mmseg import street, tensor

OWN = ["asphalt", "pavement", "cloud", "bird", "tree"]
MAP = {"cloud": "sky", "tree": "tree", "asphalt": "road", "bird": None, "pavement": "road"}
DATA = ("road", "sky", "tree")
INDEX = {0: 0, 1: 0, 2: 1, 4: 2}  # a class of the model -> one of the data; 3 is dropped


def spec(label_map: Any = MAP, **fields: Any) -> ModelSpec:
    source = {"callable": "tests.toys:convolutional", "arguments": {"num_classes": 5}}
    content = {"name": "m", "torch": source, "classes": OWN, "label_map": label_map, **fields}
    return ModelSpec.model_validate(content)


def joined(label_map: Any = MAP, classes: tuple[str, ...] = DATA, **fields: Any) -> ModelSpec:
    return join(spec(label_map, **fields), classes)


def test_the_prediction_is_the_models_own_renamed() -> None:
    images = torch.rand(2, 3, 12, 16)
    with torch.inference_mode():
        own = adapters.load(spec(None))(images)
        mapped = adapters.load(joined())(images)
    assert mapped.shape == (2, 3, 12, 16)
    competing = own.index_fill(1, torch.tensor([3]), -torch.inf).argmax(1)
    renamed = torch.zeros_like(competing)
    for source, target in INDEX.items():
        renamed[competing == source] = target
    assert torch.equal(mapped.argmax(1), renamed)
    assert torch.equal(mapped[:, 0], own[:, :2].amax(1))
    assert torch.equal(mapped[:, 1:], own[:, [2, 4]])
    assert own.argmax(1).eq(3).any()  # else nothing was dropped


def test_a_zoo_model_answers_in_merged_classes() -> None:
    name = "fcn-r18"
    stay = [n for n in ZOO[name].classes if n not in ("car", "bicyclist", "pedestrian")]
    classes = tuple(dict.fromkeys(n if n in stay else "moving" for n in ZOO[name].classes))
    mapping = {n: n if n in stay else "moving" for n in ZOO[name].classes}
    read = join(ModelSpec.model_validate({"zoo": name, "label_map": mapping}), classes)
    images = tensor(street())[..., :96, :128]
    with torch.inference_mode():
        own = adapters.load(ModelSpec.model_validate(name))(images).argmax(1)
        mapped = adapters.load(read)(images).argmax(1)
    table = torch.tensor([classes.index(mapping[n]) for n in ZOO[name].classes])
    assert torch.equal(mapped, table[own])
    adapters.check(read)


def test_the_gradient_reaches_the_winning_class_alone() -> None:
    model = adapters.load(
        ModelSpec.model_validate(
            {
                "name": "m",
                "torch": {
                    "callable": "tests.toys:linear",
                    "arguments": {"weights": [[1.0, 0, 0], [0, 2.0, 0], [0, 0, 3.0]]},
                },
                "classes": ["a", "b", "c"],
                "label_map": {"a": "x", "b": "x", "c": "y"},
            }
        )
    )
    images = torch.full((1, 3, 1, 1), 0.5, requires_grad=True)
    gradient = model.gradient(model(images)[:, 0].sum(), images)
    assert gradient.flatten().tolist() == [0, 2, 0]
    assert (model.cost.forwards, model.cost.backwards, model.cost.pixels) == (1, 1, 1)


def test_what_is_known_of_the_model_is_what_the_map_makes_of_it() -> None:
    info = adapters.describe(joined())
    assert (info.classes, info.num_classes) == (DATA, 3)
    assert adapters.load(joined()).num_classes == 3
    assert info.backbone == adapters.describe(spec(None)).backbone


@pytest.mark.parametrize("classes", [DATA, DATA[::-1], ("tree", "road", "sky")])
def test_mapped_classes_follow_the_datas_order_whatever_order_the_map_is_written_in(
    classes: tuple[str, ...],
) -> None:
    backwards = dict(reversed(MAP.items()))
    one, other = joined(classes=classes), joined(backwards, classes)
    assert adapters.describe(one).classes == classes
    assert adapters.describe(one) == adapters.describe(other)
    images = torch.rand(1, 3, 8, 8)
    with torch.inference_mode():
        usual = adapters.load(joined())(images)
        for index, name in enumerate(classes):
            assert torch.equal(adapters.load(one)(images)[:, index], usual[:, DATA.index(name)])


def test_the_fingerprint_follows_what_is_merged_and_not_what_it_is_called() -> None:
    def fingerprint(read: ModelSpec) -> str:
        return adapters.describe(read).fingerprint

    base = fingerprint(joined())
    other = joined(MAP | {"bird": "sky"})
    assert len({base, fingerprint(spec(None)), fingerprint(other)}) == 3
    assert fingerprint(joined(classes=DATA[::-1])) != base
    renamed = {k: v and v.upper() for k, v in MAP.items()}
    assert fingerprint(joined(renamed, ("ROAD", "SKY", "TREE"))) == base


def test_windows_and_a_map_go_together() -> None:
    window = {"mode": "slide", "crop": [8, 8], "stride": [8, 8]}
    images = torch.rand(1, 3, 16, 8)
    with torch.inference_mode():
        model = adapters.load(joined(inference=window))
        logits = model(images)
        halves = [adapters.load(joined())(half) for half in images.chunk(2, 2)]
    assert torch.equal(logits, torch.cat(halves, 2))
    assert model.cost.pixels == 16 * 8


def test_members_of_an_ensemble_are_joined_each_by_its_own_map() -> None:
    other = spec({"a": "tree", "b": "sky", "c": "road", "d": None, "e": None}, classes=[*"abcde"])
    third = spec(None, name="plain", classes=["road", "sky", "tree"])
    members = [spec().model_dump(), other.model_dump(), third.model_dump()]
    ensemble = ModelSpec.model_validate({"name": "e", "ensemble": members})
    read = join(ensemble, DATA)
    assert read.ensemble is not None
    described = [adapters.describe(member) for member in read.ensemble.members]
    assert [info.classes for info in described] == [DATA] * 3
    assert read.ensemble.members[2] == third


def test_a_spec_without_a_map_is_left_alone() -> None:
    assert join(spec(None), DATA) == spec(None)


@pytest.mark.parametrize(
    ("label_map", "classes", "told"),
    [
        (MAP | {"bird": "trea"}, DATA, "'bird' to 'trea', no class of the data; did you "),
        (
            MAP,
            (*DATA, "car", "sign"),
            r"maps no class of the model to 'car', 'sign' of the data.*data\.label_map",
        ),
        (MAP | {"cloud": None}, DATA, "maps no class of the model to 'sky' of the data"),
    ],
)
def test_a_map_that_does_not_fit_the_data_is_refused(
    label_map: dict[str, str | None], classes: tuple[str, ...], told: str
) -> None:
    with pytest.raises(InputError, match=f"model 'm': label_map .*{told}"):
        joined(label_map, classes)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"label_map": MAP | {"clouds": None}}, "names 'clouds', .* did you mean 'cloud'"),
        ({"label_map": {"asphalt": "road", "cloud": "sky", "tree": "tree"}}, "'pavement', 'bird'"),
        ({"classes": None}, "its own class list is unknown; give the list as classes"),
    ],
    ids=str,
)
def test_a_map_that_does_not_fit_the_model_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=f"model 'm'.*{told}"):
        adapters.describe(join(spec(**changes), DATA))


def test_a_class_list_of_another_length_than_the_models_is_refused() -> None:
    source = {"callable": "tests.toys:convolutional", "arguments": {"num_classes": 4}}
    with pytest.raises(InputError, match="predicts 4 classes, and its class list has 5"):
        adapters.load(joined(torch=source))


def test_many_left_out_classes_are_counted() -> None:
    classes = [f"c{i}" for i in range(30)]
    source = {"callable": "tests.toys:convolutional", "arguments": {"num_classes": 30}}
    with pytest.raises(InputError, match=r"leaves out 'c2', .*'c9' and 20 more of the model"):
        adapters.describe(spec({"c0": "a", "c1": "b"}, classes=classes, torch=source))
