"""Outputs of models: channels, kinds, NaN, random numbers and gradients, also inside ensembles."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cases.strangers import MARKED
from tests.cases.user import (
    NOISE,
    PGD,
    assert_failed,
    assert_scores,
    command,
    ensemble,
    model,
    photo,
    told,
)

# -- Channels and kinds --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("fewer", "returned 2 channels, and its num_classes is 3"),
        ("listed", "returned a list; return logits N x K x H x W"),
        ("wrapped", "returned an Answer; return logits N x K x H x W"),
    ],
)
def test_output_of_another_kind_fails_in_a_sentence(function: str, said: str, folder: Path) -> None:
    assert_failed(command(models=[model(function)]), f"model 'm' {said}")


@pytest.mark.parametrize(
    ("function", "average", "said"),
    [
        ("extra", "logits", "'extra' returned 4 channels, and its num_classes is 3"),
        ("dictionary", "gradients", "'dictionary' returned a dict; return logits"),
        ("nan", "logits", "NaN logits for image i"),
    ],
)
def test_output_of_an_ensembles_member_fails_in_a_sentence(
    function: str, average: str, said: str, folder: Path
) -> None:
    models = [ensemble("right", function, average=average)]
    assert_failed(command(models=models, attacks=[PGD]), said)


def test_extra_channel_of_a_source_that_is_no_target_fails_in_a_sentence(folder: Path) -> None:
    models = [model(), model("extra", "source")]
    answer = command(models=models, sources=["source"], targets=["m"], attacks=[PGD])
    assert_failed(answer, "model 'source' returned 4 channels, and its num_classes is 3")


# -- Numbers that are not finite -----------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"shard_size": 1}], ids=["one shard", "two shards"])
def test_nan_at_one_pixel_names_its_image(changes: dict[str, int], folder: Path) -> None:
    spotted = photo(1)
    spotted[3, 5] = MARKED
    Image.fromarray(spotted).save(folder / "data/images/i1.png")
    answer = command(models=[model("marked")], **changes)
    assert_failed(answer, "model 'm' returned NaN logits for image i1")
    assert "for image i0" not in told(answer)


def test_nan_under_attack_alone_leaves_the_clean_score(folder: Path) -> None:
    answer = command(models=[model("nan_under_attack")], attacks=[NOISE | {"eps": "8/255"}])
    assert_failed(answer, "model 'm' returned NaN logits")
    assert "clean │ 100.0" in told(answer)


@pytest.mark.parametrize("function", ["infinite", "minus_infinity"])
def test_infinite_logits_fail_in_a_sentence(function: str, folder: Path) -> None:
    assert_failed(command(models=[model(function)]), "model 'm' returned infinite logits")


def test_nan_of_a_source_names_step_and_image(folder: Path) -> None:
    models = [model(), model("nan", "source")]
    answer = command(models=models, sources=["source"], targets=["m"], attacks=[PGD])
    assert answer.exit_code == 1, answer.output
    assert "attack 'pgd': the gradient of image i0 is not a number (NaN) at step 1" in told(answer)


# -- Random numbers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "models",
    [
        [model("dropped")],
        [model("numpy_noise")],
        [model("counting")],
        [ensemble("right", "dropped")],
    ],
    ids=["dropout", "numpy", "counter", "member"],
)
def test_model_that_answers_differently_is_said(models: list[dict], folder: Path) -> None:
    answer = command(models=models)
    assert answer.exit_code == 0, answer.output
    said = f"! Model {models[0]['name']} is not deterministic"
    assert said in told(answer), answer.output


def test_random_source_that_is_no_target_is_said(folder: Path) -> None:
    models = [model(), model("dropped", "source")]
    answer = command(models=models, sources=["source"], targets=["m"], attacks=[PGD])
    assert answer.exit_code == 0, answer.output
    assert "! Model source is not deterministic" in told(answer), answer.output


# -- Gradients -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("models", "attack"),
    [
        ([model("rounded")], PGD),
        ([model("saturated")], PGD),
        ([model("rounded")], PGD | {"target": {"classes": {0: 1, 1: 2, 2: 0}}}),
        ([ensemble("rounded", "rounded", average="gradients")], PGD),
    ],
    ids=["rounded", "saturated", "targeted", "ensemble"],
)
def test_source_without_gradient_is_said(models: list[dict], attack: dict, folder: Path) -> None:
    answer = command(models=models, attacks=[attack])
    assert answer.exit_code == 0, answer.output
    said = f"! The gradient on source {models[0]['name']} is zero at 100 % of values under pgd"
    assert said in told(answer), answer.output


def test_one_source_of_two_without_gradient_is_named(folder: Path) -> None:
    models = [model(), model("rounded", "flat")]
    for number in range(2):  # an image on which the other source has one
        image = photo(number) + np.array([3, 0, 0], np.uint8)
        Image.fromarray(image).save(folder / f"data/images/i{number}.png")
    answer = command(models=models, attacks=[PGD, NOISE])
    assert_scores(answer)
    assert "! The gradient on source flat is zero at 100 % of values under pgd" in told(answer)
    assert "The gradient on source m" not in told(answer)


def test_source_without_a_graph_fails_in_a_sentence(folder: Path) -> None:
    models = [model(), model("without_graph", "flat")]
    answer = command(models=models, attacks=[PGD])
    assert_failed(answer, "'flat'", "gradient")
