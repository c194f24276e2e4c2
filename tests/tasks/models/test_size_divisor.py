"""Networks that take multiples of some number: found by trial, and heeded by dynamic scaling."""

from pathlib import Path

import pytest
import torch
from torch import nn

from segtransfer.errors import InputError
from segtransfer.tasks.attack import attack
from segtransfer.tasks.models import adapters
from segtransfer.tasks.models.base import Segmenter
from segtransfer.tasks.models.label_map import join
from segtransfer.tasks.models.mmseg_configs import find_config
from segtransfer.tasks.models.probe import PROBE_SIZES, check_size, learn_sizes
from segtransfer.tasks.models.spec import ModelSpec
from segtransfer.tasks.models.torch import TorchSegmenter
from tests.tasks.cases import annotations, ids, pictures, spec
from tests.tasks.models.networks import spec_of

TWO_BRANCHES = {
    "ddrnet": ("ddrnet_23-slim_in1k-pre_2xb6-120k_cityscapes-1024x1024", {"ppm_channels": 16}, 32),
    "pidnet": ("pidnet-s_2xb6-120k_1024x1024-cityscapes", {"ppm_channels": 16}, 32),
}


class Picky(nn.Module):
    """Takes multiples of a number from a smallest size on; its answer is the colour."""

    num_classes = 3

    def __init__(
        self, multiple: int, smallest: int = 1, only: int = 0, square: bool = False
    ) -> None:
        super().__init__()
        self.multiple, self.smallest, self.only, self.square = multiple, smallest, only, square
        self.calls = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if self.square and images.shape[-2] != images.shape[-1]:
            raise RuntimeError("no square")
        for side in images.shape[-2:]:
            if side % self.multiple or side < self.smallest or self.only not in (0, side):
                raise RuntimeError(f"a side of {side}")
        return images


def picky(**arguments: int | bool) -> Segmenter:
    source = {"callable": f"{__name__}:Picky", "arguments": arguments}
    return adapters.load(ModelSpec.model_validate({"name": "m", "torch": source}))


@pytest.mark.parametrize("multiple", [1, 2, 4, 8, 16, 32, 64])
@pytest.mark.parametrize("smallest", [1, 300])
@pytest.mark.parametrize("square", [False, True])
def test_the_divisor_of_a_network_is_found_by_trial(
    multiple: int, smallest: int, square: bool
) -> None:
    model = picky(multiple=multiple, smallest=smallest, square=square)
    assert model.size_divisor == multiple
    shortest = -(-smallest // multiple) * multiple
    assert model.least_side == (1 if smallest == 1 else shortest)
    assert (model.cost.forwards, model.cost.pixels) == (0, 0), "a trial is no work of an attack"


def test_an_ordinary_network_is_tried_with_two_small_images_and_no_large_one() -> None:
    assert picky(multiple=1).get_submodule("module").calls == 2


def test_a_network_without_memory_for_larger_probes_is_taken_as_it_is() -> None:
    class Heavy(TorchSegmenter):
        def logits(self, images: torch.Tensor) -> torch.Tensor:
            if images.shape[-2] > 128:
                raise torch.OutOfMemoryError
            raise RuntimeError("a side")

    model = Heavy(Picky(multiple=1))
    learn_sizes(model)
    assert (model.size_divisor, model.any_size) == (1, False)
    check_size(model, (300, 400))


def test_a_declared_divisor_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Picky, "size_divisor", 24, raising=False)
    assert picky(multiple=12).size_divisor == 24


def test_a_network_of_one_size_or_none_has_divisor_1() -> None:
    assert picky(multiple=1, only=PROBE_SIZES[1][0]).size_divisor == 1
    assert picky(multiple=1, smallest=4096).size_divisor == 1


def write(folder: Path, family: str) -> dict[str, str]:
    """A small network of a family with random weights, as its shipped config describes it."""
    from mmengine.config import Config
    from mmseg.apis import init_model

    name, fields, channels = TWO_BRANCHES[family]
    backbone = {"channels": 8, "norm_cfg": {"type": "BN"}, "init_cfg": None, **fields}
    head = {"in_channels": channels, "channels": 8, "num_classes": 3, "norm_cfg": {"type": "BN"}}
    model = {"backbone": backbone, "decode_head": head}
    config = folder / f"{family}.py"
    config.write_text(f"_base_ = {str(find_config(name))!r}\nmodel = {model!r}\n")
    content = Config.fromfile(str(config))
    for loss in content.model.decode_head.loss_decode:
        loss.pop("class_weight", None)
    torch.manual_seed(0)
    network = init_model(content, None, device="cpu")
    torch.save({"state_dict": network.state_dict()}, folder / f"{family}.pth")
    return {"config": str(config), "checkpoint": str(folder / f"{family}.pth")}


@pytest.mark.parametrize("family", TWO_BRANCHES)
def test_dynamic_scaling_reaches_networks_of_two_branches_at_every_draw(
    family: str, tmp_path: Path
) -> None:
    model = adapters.load(spec_of(write(tmp_path, family)))
    assert model.size_divisor == 8
    images, labels = pictures(1, 64, 96), annotations(1, 64, 96, 3)
    ratios = []
    for seed in range(12):
        made = attack(
            model, spec("ds", steps=1), images, labels, ids(1), seed=seed, group=0, micro_batch=1
        )
        ratios.append(made.report["health"][0]["ratios"][0][0])
    assert len({round(ratio, 6) for ratio in ratios}) > 6, "sizes still vary"
    assert min(ratios) < 0.8
    assert max(ratios) > 1.2
    with pytest.raises(InputError, match="on images of 61 x 83"):
        model(torch.rand(1, 3, 61, 83))


def test_a_divisor_found_by_trial_pads_no_image(tmp_path: Path) -> None:
    """What mmseg does to images stays mmseg's: only the scales of attacks follow the trial."""
    model = adapters.load(spec_of(write(tmp_path, "ddrnet")))
    assert model.size_divisor == 8
    assert model.pads_to == 1


@pytest.mark.parametrize(
    ("network", "sizes", "told"),  # the last size is the one that may be refused
    [
        ({"multiple": 1}, [(61, 83)], None),
        ({"multiple": 8}, [(64, 96), (128, 32)], None),
        ({"multiple": 8}, [(64, 96), (61, 96)], "61 x 96 .* takes multiples of 8: set data.size"),
        ({"multiple": 1, "only": 224}, [(224, 224)], None),
        ({"multiple": 1, "only": 224}, [(96, 128)], "96 x 128 .* other sizes only: set data.size"),
        ({"multiple": 1, "only": 40}, [(40, 40)], None),
        ({"multiple": 1, "smallest": 200}, [(240, 320)], None),
        (
            {"multiple": 1, "smallest": 200},
            [(180, 240)],
            "180 x 240 .* 200 pixels and more",
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize("label_map", [None, {"a": "x", "b": "y", "c": "y"}])
def test_images_that_a_network_does_not_take_are_refused_with_a_way_out(
    network: dict[str, int],
    sizes: list[tuple[int, int]],
    told: str | None,
    label_map: dict[str, str] | None,
) -> None:
    source = {"callable": f"{__name__}:Picky", "arguments": network}
    named = ModelSpec.model_validate({"name": "m", "torch": source, "classes": ["a", "b", "c"]})
    if label_map:
        named = join(named.model_copy(update={"label_map": label_map}), ("x", "y"))
    model = adapters.load(named)
    for size in sizes if told is None else sizes[:-1]:
        check_size(model, size)
    if told is not None:
        with pytest.raises(InputError, match=told):
            check_size(model, sizes[-1])


def test_windows_bring_large_images_to_a_network_of_one_size() -> None:
    fields = {"callable": f"{__name__}:Picky", "arguments": {"multiple": 1, "only": 224}}
    windows = {"mode": "slide", "crop": [224, 224], "stride": [100, 100]}
    named = ModelSpec.model_validate({"name": "m", "torch": fields, "inference": windows})
    model = adapters.load(named)
    check_size(model, (300, 500))
    assert model(torch.rand(1, 3, 300, 500)).shape == (1, 3, 300, 500)


def test_dynamic_scaling_stays_above_the_shortest_side_that_a_network_takes() -> None:
    images, labels = pictures(2, 240, 320), annotations(2, 240, 320, 3)
    model = picky(multiple=4, smallest=200)
    for seed in range(6):
        made = attack(
            model, spec("ds", steps=1), images, labels, ids(2), seed=seed, group=0, micro_batch=2
        )
        assert made.report["health"][0]["ratios"][0][0] >= (200 * 200 / (240 * 320)) ** 0.5
