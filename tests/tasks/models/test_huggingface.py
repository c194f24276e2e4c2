"""Our differentiable wrapper against transformers' own path, on tiny untrained networks."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from segtransfer.errors import InputError, ServerError
from segtransfer.tasks.models import adapters
from segtransfer.tasks.models.base import Segmenter
from segtransfer.tasks.models.huggingface_network import HuggingfaceSegmenter
from segtransfer.tasks.models.spec import ModelSpec
from tests.tasks.cases import pictures
from tests.tasks.models.segformers import TINY, write_segformer

CLASSES = ("road", "sky", "tree")


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SegFormer of three classes and its image processor, as save_pretrained leaves them."""
    return write_segformer(tmp_path_factory.mktemp("segformer"), CLASSES)


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy of the saved model that a test may change."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


def change(folder: Path, name: str, **values: Any) -> None:
    """Set fields of a JSON file; None removes one."""
    content = json.loads((folder / name).read_text()) | values
    gone = [key for key, value in values.items() if value is None]
    (folder / name).write_text(json.dumps({k: v for k, v in content.items() if k not in gone}))


def preprocess(folder: Path, **values: Any) -> None:
    change(folder, "preprocessor_config.json", **values)


def spec(folder: Path | str, **fields: Any) -> ModelSpec:
    source = {k: fields.pop(k) for k in ("revision", "trust") if k in fields}
    source["model"] = str(folder)
    return ModelSpec.model_validate({"name": "m", "huggingface": source, **fields})


def tensor(rgb: np.ndarray) -> torch.Tensor:
    return torch.tensor(rgb).float() / 255


def transformers_own(folder: Path, rgb: np.ndarray) -> torch.Tensor:
    """Logits at the images' resolution through transformers' own processor and network."""
    processor = transformers.SegformerImageProcessor.from_pretrained(folder)
    network = transformers.SegformerForSemanticSegmentation.from_pretrained(folder).eval()
    files = [Image.fromarray(image.transpose(1, 2, 0)) for image in rgb]
    inputs = processor(images=files, do_resize=False, return_tensors="pt")
    with torch.no_grad():
        logits = network(**inputs).logits
    return torch.nn.functional.interpolate(logits, rgb.shape[-2:], mode="bilinear")


def test_logits_and_predictions_are_transformers_own(saved: Path) -> None:
    rgb = pictures(2, 61, 83)
    with torch.inference_mode():
        ours = adapters.load(spec(saved))(tensor(rgb))
    theirs = transformers_own(saved, rgb)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    assert torch.equal(ours.argmax(1), theirs.argmax(1))
    assert len(ours.argmax(1).unique()) >= 2  # a constant prediction would prove nothing


@pytest.mark.parametrize(
    "changed",
    [
        {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]},
        {"do_normalize": False},
        {"do_rescale": False, "image_mean": [120.0, 110.0, 100.0], "image_std": [60.0, 59.0, 58.0]},
        {"rescale_factor": 1 / 127.5, "image_mean": [1.0, 1.0, 1.0], "image_std": [1.0, 1.0, 1.0]},
    ],
    ids=str,
)
def test_a_changed_processor_still_sees_what_transformers_sees(
    changed: dict[str, Any], saved: Path, folder: Path
) -> None:
    preprocess(folder, **changed)
    rgb = pictures(1, 48, 64)
    with torch.inference_mode():
        ours = adapters.load(spec(folder))(tensor(rgb))
        torch.testing.assert_close(ours, transformers_own(folder, rgb), rtol=0, atol=1e-4)
        assert not torch.equal(ours, adapters.load(spec(saved))(tensor(rgb)))


def as_mobilevit(folder: Path, **values: Any) -> None:
    """Replace the processor by MobileViT's, which flips channels and normalises only if told."""
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_processor_type": "MobileViTImageProcessor", **values})
    )


def test_a_processor_that_flips_channels_sees_bgr(folder: Path) -> None:
    images = tensor(pictures(1, 32, 32))
    with torch.inference_mode():
        as_mobilevit(folder, do_flip_channel_order=False)
        rgb = adapters.load(spec(folder))(images)
        as_mobilevit(folder, do_flip_channel_order=True)
        model = adapters.load(spec(folder))
        assert torch.equal(model(images.flip(1)), rgb)
        assert not torch.equal(model(images), rgb)


def fields(folder: Path) -> dict[str, Any]:
    """How the adapter reads a folder's processor."""
    model = adapters.load(spec(folder))
    assert isinstance(model, HuggingfaceSegmenter)
    mean, std = model.mean.flatten().tolist(), model.std.flatten().tolist()
    return {"scale": model.scale, "mean": mean[0], "std": std[0], "bgr": model.bgr}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ({}, {"scale": 1, "mean": 0, "std": 1, "bgr": True}),
        ({"image_mean": [0.5] * 3, "image_std": [0.5] * 3}, {"mean": 0, "std": 1}),
        ({"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_normalize": None}, {"mean": 0}),
        ({"do_rescale": None}, {"scale": 255}),
        ({"rescale_factor": 1 / 127.5}, {"scale": 2}),
    ],
    ids=str,
)
def test_a_field_that_a_processor_leaves_out_has_its_class_default(
    written: dict[str, Any], read: dict[str, Any], folder: Path
) -> None:
    """MobileViT has a mean and no do_normalize once saved: transformers does not normalise."""
    as_mobilevit(folder, **written)
    assert {k: pytest.approx(v) for k, v in read.items()} == {k: fields(folder)[k] for k in read}


def test_a_mobilevit_saved_by_transformers_is_seen_as_transformers_sees_it(folder: Path) -> None:
    transformers.MobileViTImageProcessor().save_pretrained(folder)
    rgb = pictures(1, 32, 48)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    files = [Image.fromarray(image.transpose(1, 2, 0)) for image in rgb]
    inputs = processor(files, do_resize=False, do_center_crop=False, return_tensors="pt")
    network = transformers.SegformerForSemanticSegmentation.from_pretrained(folder).eval()
    with torch.inference_mode():
        theirs = torch.nn.functional.interpolate(
            network(inputs["pixel_values"]).logits, (32, 48), mode="bilinear"
        )
        ours = adapters.load(spec(folder))(tensor(rgb))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_a_processor_without_a_mean_has_its_class_default_as_in_transformers(folder: Path) -> None:
    preprocess(folder, do_normalize=None, image_mean=None, image_std=None)
    rgb = pictures(1, 32, 32)
    with torch.inference_mode():
        ours = adapters.load(spec(folder))(tensor(rgb))
    torch.testing.assert_close(ours, transformers_own(folder, rgb), rtol=0, atol=1e-5)


def test_preprocessing_that_cannot_be_followed_is_refused(folder: Path) -> None:
    """SegFormer's processor knows no flip: the file says one, and transformers does another."""
    preprocess(folder, do_flip_channel_order=True)
    for ask in (adapters.check, adapters.load):
        with pytest.raises(InputError, match=r"transformers' image processor .* maps the colour"):
            ask(spec(folder))


@pytest.mark.parametrize("mean", ["red", [0.5, 0.5], [[1], [2], [3]]], ids=str)
def test_a_mean_that_is_no_number_per_channel_is_refused(mean: Any, folder: Path) -> None:
    preprocess(folder, image_mean=mean)
    with pytest.raises(InputError, match=r"preprocessor_config\.json has image_mean"):
        adapters.describe(spec(folder))


def test_the_fingerprint_changes_only_with_the_reading(saved: Path, folder: Path) -> None:
    base = adapters.describe(spec(saved)).fingerprint
    preprocess(folder, do_rescale=None)  # the class default says the same
    assert adapters.describe(spec(folder)).fingerprint == base


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>sign in</html>", "web page"),
        (b"", "empty"),
    ],
)
@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_pointer_or_a_page_in_place_of_a_file_is_named(
    name: str, content: bytes, kind: str, folder: Path
) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name}.* it is .*{kind}"):
        adapters.describe(spec(folder))


class Unavailable(Exception):
    """As the hub's client raises it for a status of 503."""

    class response:
        status_code = 503


def test_trouble_of_the_hub_is_no_wrong_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", Hub(error=Unavailable("503 busy")))
    with pytest.raises(ServerError, match=r"hub failed on 'a/b' .*503 busy.*try again later"):
        adapters.describe(spec("a/b"))


def test_logits_have_the_inputs_resolution_and_gradients_reach_every_pixel(saved: Path) -> None:
    model = adapters.load(spec(saved))
    for shape in ((1, 65, 97), (3, 32, 48)):
        images = torch.rand(shape[0], 3, *shape[1:], requires_grad=True)
        logits = model(images)
        assert logits.shape == (shape[0], 3, *shape[1:])
        gradient = model.gradient(logits.square().sum(), images)
        assert gradient.isfinite().all()
        assert (gradient != 0).float().mean() > 0.99


def test_a_loaded_model_is_frozen_and_in_float32(folder: Path) -> None:
    network = transformers.SegformerForSemanticSegmentation.from_pretrained(folder)
    network.half().save_pretrained(folder)
    model = adapters.load(spec(folder))
    assert not any(m.training for m in model.modules())
    assert not any(p.requires_grad for p in model.parameters())
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    images = tensor(pictures(1, 32, 32))
    with torch.inference_mode():
        assert torch.equal(model(images), model(images))


def test_sizes_are_padded_to_what_the_processor_asks_for(saved: Path, folder: Path) -> None:
    preprocess(folder, ensure_multiple_of=32)
    model, plain = adapters.load(spec(folder)), adapters.load(spec(saved))
    assert (model.size_divisor, plain.size_divisor) == (32, 1)
    images = tensor(pictures(1, 40, 64))
    with torch.inference_mode():
        mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1).expand(1, 3, 24, 64)
        padded = plain(torch.cat([images, mean], 2))
        torch.testing.assert_close(model(images), padded[..., :40, :], rtol=0, atol=1e-5)
    assert model.cost.pixels == 64 * 64


BEIT: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 32,
    "patch_size": 16,
    "out_indices": [1, 2, 3, 4],
    "use_relative_position_bias": True,
    "use_auxiliary_head": False,
}
DPT: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 32,
    "patch_size": 16,
    "backbone_out_indices": [0, 1, 2, 3],
    "neck_hidden_sizes": [8, 8, 8, 8],
    "fusion_hidden_size": 8,
    "use_auxiliary_head": False,
}


def save(folder: Path, kind: str, fields: dict[str, Any]) -> ModelSpec:
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**fields, id2label=dict(enumerate(CLASSES)))
    getattr(transformers, f"{kind}ForSemanticSegmentation")(config).save_pretrained(folder)
    transformers.SegformerImageProcessor().save_pretrained(folder)
    return spec(folder)


@pytest.mark.parametrize(
    ("kind", "fields", "size", "whole"),
    [("Beit", BEIT, (40, 72), (48, 80)), ("DPT", DPT, (40, 40), (48, 48))],
    ids=["beit", "dpt"],
)
def test_images_are_padded_to_whole_patches_where_patches_do_not_overlap(
    kind: str,
    fields: dict[str, Any],
    size: tuple[int, int],
    whole: tuple[int, int],
    tmp_path: Path,
) -> None:
    """The last pixels reach the logits, which are those of the padded image."""
    model = adapters.load(save(tmp_path, kind, fields))
    assert model.size_divisor == 16
    images = torch.rand(1, 3, *size, requires_grad=True)
    logits = model(images)
    assert logits.shape == (1, 3, *size)
    assert model.cost.pixels == whole[0] * whole[1]
    gradient = model.gradient(logits.square().sum(), images)
    assert (gradient[..., -8:, -8:] != 0).float().mean() > 0.9
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    padded = mean.repeat(1, 1, *whole)
    padded[..., : size[0], : size[1]] = images.detach()
    torch.testing.assert_close(logits, model(padded)[..., : size[0], : size[1]], rtol=0, atol=1e-5)


def test_a_dpt_that_would_mistake_the_grid_of_its_patches_is_refused(tmp_path: Path) -> None:
    """4 x 9 patches would pass for 6 x 6."""
    model = adapters.load(save(tmp_path, "DPT", DPT))
    with pytest.raises(InputError, match="square images, and got 64 x 144"):
        model(torch.rand(1, 3, 64, 144))


def test_description_equals_the_loaded_model(saved: Path) -> None:
    info = adapters.describe(spec(saved))
    model = adapters.load(spec(saved))
    assert isinstance(model, HuggingfaceSegmenter)
    assert info.classes == CLASSES
    assert info.num_classes == model.num_classes == 3
    assert info.head == "Segformer"
    assert info.backbone == "segformer(hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1])"
    assert adapters.describe(spec(saved, backbone="mit-b0")).backbone == "mit-b0"
    assert adapters.describe(spec(saved, classes=["a", "b", "c"])).classes == ("a", "b", "c")


def test_the_family_of_a_composed_model_is_that_of_its_backbone(folder: Path) -> None:
    part = {"model_type": "swin", "embed_dim": 96, "depths": [2, 2, 6, 2]}
    change(folder, "config.json", model_type="upernet", backbone_config=part)
    assert adapters.describe(spec(folder)).backbone == "swin(embed_dim=96, depths=[2, 2, 6, 2])"


def test_labels_that_are_mere_numbers_are_no_class_list(folder: Path) -> None:
    change(folder, "config.json", id2label={str(i): f"LABEL_{i}" for i in range(3)})
    info = adapters.describe(spec(folder))
    assert (info.classes, info.num_classes) == (None, 3)


def test_the_fingerprint_follows_config_weights_and_processing_and_not_the_place(
    saved: Path, folder: Path
) -> None:
    def fingerprint(**fields: Any) -> str:
        return adapters.describe(spec(folder, **fields)).fingerprint

    base = adapters.describe(spec(saved)).fingerprint
    assert fingerprint() == fingerprint(trust=True) == base
    preprocess(folder, resample=3)  # sizes are the data's affair
    change(folder, "config.json", transformers_version="0", _name_or_path="elsewhere")
    assert fingerprint() == base
    assert fingerprint(inference={"mode": "whole"}) == base
    seen = {base, fingerprint(inference={"mode": "slide", "crop": [32, 32], "stride": [16, 16]})}
    preprocess(folder, image_mean=[0.5, 0.5, 0.5])
    seen.add(fingerprint())
    change(folder, "config.json", layer_norm_eps=1e-5)
    seen.add(fingerprint())
    network = transformers.SegformerForSemanticSegmentation.from_pretrained(folder)
    network.decode_head.classifier.bias.data += 1
    network.save_pretrained(folder)
    seen.add(fingerprint())
    assert len(seen) == 5


def test_sharded_weights_load_and_count_in_full(saved: Path, tmp_path: Path) -> None:
    network = transformers.SegformerForSemanticSegmentation.from_pretrained(saved)
    network.save_pretrained(tmp_path, max_shard_size="20KB")
    shutil.copy(saved / "preprocessor_config.json", tmp_path)
    shards = sorted(tmp_path.glob("*.safetensors"))
    assert len(shards) > 1
    images = tensor(pictures(1, 32, 32))
    with torch.inference_mode():
        loaded, whole = adapters.load(spec(tmp_path)), adapters.load(spec(saved))
        assert torch.equal(loaded(images), whole(images))
    before = adapters.describe(spec(tmp_path)).fingerprint
    shutil.copy(shards[0], shards[1])
    assert adapters.describe(spec(tmp_path)).fingerprint != before
    shards[1].unlink()
    with pytest.raises(InputError, match=f"names {shards[1].name}, which is missing"):
        adapters.describe(spec(tmp_path))


def test_pickled_weights_are_read_only_with_trust(saved: Path, folder: Path) -> None:
    network = transformers.SegformerForSemanticSegmentation.from_pretrained(folder)
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"no model\.safetensors, only pytorch_model\.bin.*trust"):
        adapters.describe(spec(folder))
    with pytest.raises(InputError, match="cannot load"):
        adapters.load(spec(folder))
    images = tensor(pictures(1, 32, 32))
    with torch.inference_mode():
        trusted = adapters.load(spec(folder, trust=True))(images)
        assert torch.equal(trusted, adapters.load(spec(saved))(images))
    assert adapters.describe(spec(folder, trust=True)).num_classes == 3


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    for ask in (adapters.describe, adapters.check, adapters.load):
        with pytest.raises(InputError, match=f"model 'm': folder {tmp_path}/gone does not exist"):
            ask(spec(tmp_path / "gone"))


@pytest.mark.parametrize("missing", ["config.json", "preprocessor_config.json"])
def test_a_folder_without_a_config_is_told_what_belongs_there(missing: str, folder: Path) -> None:
    (folder / missing).unlink()
    with pytest.raises(InputError, match=rf"{folder} has no {missing}; .*image processor"):
        adapters.describe(spec(folder))


def test_a_torn_config_is_named(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json is no valid JSON"):
        adapters.describe(spec(folder))


@pytest.mark.parametrize("content", ["[]", "3", "null"])
@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json"])
def test_a_file_that_is_no_mapping_is_named(file: str, content: str, folder: Path) -> None:
    (folder / file).write_text(content)
    with pytest.raises(InputError, match=rf"{file} holds a \w+, not a mapping"):
        adapters.describe(spec(folder))


def test_a_classifier_is_refused_by_its_architecture(folder: Path) -> None:
    change(folder, "config.json", architectures=["SegformerForImageClassification"])
    with pytest.raises(
        InputError, match=r"SegformerForImageClassification, no semantic-segmentation"
    ):
        adapters.describe(spec(folder))


def test_weights_that_leave_a_head_untrained_are_refused(folder: Path) -> None:
    config = transformers.SegformerConfig(**TINY, id2label=dict(enumerate(CLASSES)))
    transformers.SegformerModel(config).save_pretrained(folder)
    change(folder, "config.json", architectures=["SegformerForSemanticSegmentation"])
    for ask in (adapters.check, adapters.load):
        with pytest.raises(InputError, match=r"keys are missing \(.*decode_head\."):
            ask(spec(folder))


def test_weights_of_another_shape_are_refused_with_transformers_reason(folder: Path) -> None:
    labels = {str(i): name for i, name in enumerate((*CLASSES, "car"))}
    change(folder, "config.json", id2label=labels)
    with pytest.raises(InputError, match=f"model 'm': transformers cannot load {folder}"):
        adapters.check(spec(folder))


def test_the_missing_package_is_answered_with_its_extra(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segtransfer.tasks.models.huggingface_files.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "transformers", None)
    adapters.import_libraries(spec(saved))
    for ask in (adapters.describe, adapters.load):
        with pytest.raises(InputError, match=r"pip install 'segtransfer\[huggingface\]'"):
            ask(spec(saved))


class Hub:
    """Stands for the hub: notes what is asked, and gives ``folder`` or raises ``error``."""

    def __init__(self, folder: Path | None = None, error: Exception | None = None) -> None:
        self.folder, self.error = folder, error
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, name: str, **arguments: Any) -> str:
        self.asked.append((name, arguments))
        if self.error is not None:
            raise self.error
        return str(self.folder)


def test_a_name_is_taken_from_the_hub_without_its_pickles(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub(saved)
    monkeypatch.setattr("huggingface_hub.snapshot_download", hub)
    read = spec("someone/segformer-tiny", revision="v1")
    assert isinstance(adapters.load(read), Segmenter)
    name, arguments = hub.asked[0]
    assert (name, arguments["revision"]) == ("someone/segformer-tiny", "v1")
    assert not any("bin" in p or "pytorch" in p for p in arguments["allow_patterns"])
    adapters.describe(spec("someone/segformer-tiny", trust=True))
    assert "pytorch_model*" in hub.asked[-1][1]["allow_patterns"]
    local, remote = adapters.describe(spec(saved)), adapters.describe(read)
    assert local.fingerprint == remote.fingerprint


def test_what_the_hub_does_not_give_is_named_with_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub = Hub(error=ConnectionError("no route\nand more"))
    monkeypatch.setattr("huggingface_hub.snapshot_download", hub)
    with pytest.raises(
        InputError,
        match=r"'a/b' is no folder, and the .* hub refused .*\(ConnectionError: no route\)",
    ):
        adapters.describe(spec("a/b"))


def test_a_revision_of_a_folder_is_refused(saved: Path) -> None:
    with pytest.raises(InputError, match=r"revision is 'v1', and .* is a folder without revisions"):
        adapters.describe(spec(saved, revision="v1"))


def test_a_folder_beside_the_spec_is_found_from_anywhere(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "deep/mine").mkdir(parents=True)

    def read(model: str) -> str:
        content = {"name": "m", "huggingface": {"model": model}}
        found = ModelSpec.model_validate(content, context={"base": tmp_path}).huggingface
        assert found is not None
        return found.model

    assert read("mine") == str(tmp_path / "mine")
    assert read("deep/mine") == str(tmp_path / "deep/mine")
    assert read("./gone") == str(tmp_path / "gone")
    assert read("a/b/c") == str(tmp_path / "a/b/c")
    assert read("nvidia/segformer-b0") == "nvidia/segformer-b0"
    assert read("segformer-b0") == "segformer-b0"
