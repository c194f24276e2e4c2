"""Object size: recall by quarter of stored predictions, and which claims follow."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segtransfer.breakdowns.object_quarters import quarter_edges, quarters
from segtransfer.results import Results
from segtransfer.runtime.runner import carry_out
from segtransfer.statistics import Resampled
from segtransfer.studies import object_size, read_base
from segtransfer.studies.base import BaseExperiment
from segtransfer.studies.object_size import STUDY, Sizes
from segtransfer.studies.study import Verdict
from tests.orchestrator.toy_experiments import toy, toy_spec


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, BaseExperiment]:
    """A real run on squares of a few sizes, whose stored predictions are counted."""
    folder = tmp_path_factory.mktemp("sizes")
    generator = np.random.default_rng(0)
    for kind in ("images", "labels"):
        (folder / "data" / kind).mkdir(parents=True)
    for number in range(6):
        label = np.zeros((24, 32), np.uint8)
        for top, left, side in ((1, 1, 2), (6, 4, 4), (12, 12, 8)):
            label[top : top + side, left : left + side] = 1 + number % 2
        image = generator.integers(0, 256, (24, 32, 3), np.uint8)
        Image.fromarray(image).save(folder / "data/images" / f"image-{number}.png")
        Image.fromarray(label).save(folder / "data/labels" / f"image-{number}.png")
    networks = [toy("a", seed=1), toy("b", seed=2) | {"backbone": "another"}]
    base = read_base(toy_spec(folder, models=networks, attacks=[{"preset": "pgd", "steps": 3}]))
    return carry_out(STUDY.experiment(base)), base


def test_recall_of_stored_predictions_equals_a_count_per_object(run: Any) -> None:
    results, base = run
    numbers = STUDY.findings(Resampled(results), base)
    assert numbers.objects == 6 * 4  # three squares and their surroundings
    labels = np.concatenate([results.store.shard(s).labels for s in results.manifest.shards])
    sizes = quarters(labels, quarter_edges(labels, 3)[0])
    expected = []
    for target in results.targets:
        keys = [k for a, _, t, _, k, _ in results.manifest.rows if (a, t) == ("clean", target)]
        predicted = np.concatenate([results.store.evaluation(key).predictions for key in keys])
        shares = [
            np.mean(
                [
                    100 * (predicted == index)[(labels == index) & (sizes == quarter)].mean()
                    for index in range(3)
                    if ((labels == index) & (sizes == quarter)).any()
                ]
            )
            for quarter in range(4)
            if (sizes == quarter).any()
        ]
        expected.append(shares)
    found = [i.value for i, area in zip(numbers.clean, numbers.areas, strict=True) if area > 0]
    assert found == pytest.approx(np.mean(expected, axis=0))


def test_class_without_objects_has_no_recall_and_no_area(run: Any) -> None:
    results, base = run
    numbers = STUDY.findings(Resampled(results), base)
    for interval, area in zip(numbers.clean, numbers.areas, strict=True):
        assert np.isnan(area) == np.isnan(interval.value)


def verdicts_of(run: Any, monkeypatch: pytest.MonkeyPatch, taken: Any) -> dict[str, str]:
    """Return the verdicts for drops of ``taken(attack, source, target)`` points by quarter."""
    results, base = run

    def of(self: Any, attack: str, source: str | None, target: str) -> list[np.ndarray]:
        clean = np.full(4, 80.0)
        lost = np.zeros(4) if attack == "clean" else np.asarray(taken(attack, source, target))
        return [np.tile(clean - lost, (2001, 1)) for _ in Resampled(results).design.factors]

    monkeypatch.setattr(object_size.Recalls, "of", of)
    numbers: Sizes = STUDY.findings(Resampled(results), base)
    enough = replace(numbers.facts, scope=replace(numbers.facts.scope, images=48))
    found: list[Verdict] = STUDY.verdicts(replace(numbers, facts=enough))
    return {verdict.claim: verdict.standing for verdict in found}


def test_uneven_gains_support_the_claim_and_even_gains_do_not(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def uneven(attack: str, source: str, target: str) -> list[float]:
        gain = [4, 3, 2, 1] if attack.startswith("ds") else [0, 0, 0, 0]
        return [40 * (source == target) + 10 + more for more in gain]

    def even(attack: str, source: str, target: str) -> list[float]:
        return [40 * (source == target) + 10 + 2 * attack.startswith("ds")] * 4

    assert verdicts_of(run, monkeypatch, uneven) == {"A4": "supports"}
    assert verdicts_of(run, monkeypatch, even) == {"A4": "contradicts"}
