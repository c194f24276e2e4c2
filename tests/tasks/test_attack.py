from typing import Any

import numpy as np
import pytest

from tasks.attack import attack
from tasks.perturbation import statistics
from tests.tasks.cases import annotations, ids, pictures, spec, toy

ATTACKS: dict[str, dict[str, Any]] = {
    "pgd": {},
    "pgd from a random start": {"start": "uniform"},
    "mi": {"momentum": {"mu": 1.0}},
    "ds, logits": {"transforms": ["ds"]},
    "ds, labels, mi": {"transforms": [{"ds": {"label_version": "labels"}}], "momentum": {}},
    "masked": {"loss": "masked-cross-entropy"},
}


@pytest.mark.parametrize("fields", ATTACKS.values(), ids=ATTACKS)
@pytest.mark.parametrize("toy_name", ["convolutional", "linear"])
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
    assert not np.array_equal(together, images)
    for micro_batch in (1, 2, 3):
        assert np.array_equal(run([0, 1, 2, 3, 4], micro_batch), together)
    for i in range(5):
        assert np.array_equal(run([i], 1)[0], together[i])
    assert np.array_equal(run([4, 1], 2), together[[4, 1]])


def test_noise_needs_no_source_and_fills_the_ball() -> None:
    images, labels = pictures(2, 16, 16), annotations(2, 16, 16, 2)
    rule = spec("noise", eps="8/255")
    result = attack(None, rule, images, labels, ids(2), seed=0, group=0, micro_batch=2)
    assert result.report["cost"] == {}
    assert result.report["perturbation"]["linf"] == [8, 8]
    assert 0.35 < result.report["perturbation"]["mean_abs"][0] < 0.55


def test_an_attack_of_some_steps_without_a_source_is_a_mistake() -> None:
    images, labels = pictures(1, 8, 8), annotations(1, 8, 8, 2)
    with pytest.raises(ValueError, match="needs a source model"):
        attack(None, spec("pgd"), images, labels, ids(1), seed=0, group=0, micro_batch=1)


@pytest.mark.parametrize("eps", [0.03, "8/255", "2/255"])
def test_stored_examples_hold_the_integer_bound(eps: Any) -> None:
    images, labels = pictures(2, 10, 14), annotations(2, 10, 14, 3)
    rule = spec("pgd", eps=eps, steps=5)
    result = attack(
        toy("convolutional"), rule, images, labels, ids(2), seed=0, group=0, micro_batch=2
    )
    distance = np.abs(result.images.astype(int) - images).max()
    assert distance == int(np.floor(rule.eps * 255 + 1e-6))


def test_the_report_tells_the_cost_the_health_and_the_perturbation() -> None:
    model = toy("convolutional")
    images, labels = pictures(5, 8, 10), annotations(5, 8, 10, 3)
    rule = spec("pgd", steps=3)
    result = attack(model, rule, images, labels, ids(5), seed=0, group=0, micro_batch=2)
    cost = result.report["cost"]
    assert (cost["forwards"], cost["backwards"], cost["pixels"]) == (15, 15, 15 * 80)
    assert [len(h["losses"]) for h in result.report["health"]] == [3, 3, 3]
    assert [len(h["losses"][0]) for h in result.report["health"]] == [2, 2, 1]
    expected = statistics(result.images, images, rule.eps)
    assert result.report["perturbation"] == expected
