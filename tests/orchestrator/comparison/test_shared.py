"""Common images and models of two runs: refused differences, and restriction if allowed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segtransfer.comparison import Comparison, compare_results
from segtransfer.comparison.shared import bring_together
from segtransfer.errors import InputError
from segtransfer.results import Results
from tests.orchestrator.comparison.runs import run_of
from tests.orchestrator.manifests import made_up_manifest
from tests.orchestrator.toy_experiments import run_toy, write_images

PGD = [("pgd", "pgd")]


@pytest.fixture
def run(tmp_path: Path) -> Results:
    return run_of(tmp_path, {"pgd": [10, 20, 30, 40]})


def changed(run: Results, **content: Any) -> Results:
    manifest = made_up_manifest({**run.manifest.stored(), **content})
    return replace(run, identity="changed", manifest=manifest)


def with_spec(run: Results, **spec: Any) -> Results:
    return changed(run, spec={**run.manifest.spec, **spec})


def with_model(run: Results, name: str, **part: Any) -> Results:
    models = run.manifest.stored()["models"]
    return changed(run, models={**models, name: {**models[name], **part}})


def weaker(run: Results) -> Results:
    (attack,) = run.manifest.spec["attacks"]
    return with_spec(run, attacks=[{**attack, "eps": 4 / 255}])


def l2(run: Results) -> Results:
    (attack,) = run.manifest.spec["attacks"]
    return with_spec(run, attacks=[{**attack, "norm": "l2"}])


def compare_pgd(a: Results, b: Results, *allow: str) -> Comparison:
    return compare_results(a, b, PGD, allow=allow)


@pytest.mark.parametrize(
    ("alter", "kind", "expected"),
    [
        (weaker, "eps", ["linf 8/255 in A's pgd", "linf 4/255 in B's pgd"]),
        (l2, "eps", ["linf 8/255", "l2 8/255"]),
        (
            lambda run: with_spec(run, numerics={"fold": "auto", "channels_last": True}),
            "numerics",
            ["reference in A", "fold auto, channels_last in B"],
        ),
        (
            lambda run: changed(run, targets=["a", "b"]),
            "targets",
            ["targets differ", "only A has c"],
        ),
        (
            lambda run: with_model(run, "c", fingerprint="others"),
            "targets",
            ["c of A and of B are different models"],
        ),
        (
            lambda run: with_model(run, "c", networks=[["weights of c", "r50"]]),
            "targets",
            ["c of A and of B are different models (weights, configuration or backbone)"],
        ),
    ],
)
def test_difference_is_refused_unless_allowed(
    run: Results, alter: Callable[[Results], Results], kind: str, expected: list[str]
) -> None:
    other = alter(run)
    with pytest.raises(InputError) as caught:
        compare_pgd(run, other)
    message = str(caught.value)
    assert [text for text in [*expected, f"--allow {kind}"] if text not in message] == []
    others = {"images", "targets", "eps", "numerics"} - {kind}
    with pytest.raises(InputError):
        compare_pgd(run, other, *others)
    comparison = compare_pgd(run, other, kind)
    assert any(expected[0] in note for note in comparison.notes)


def on(run: Results, numerics: dict[str, Any]) -> Results:
    """The run, as if its sources had computed with these numerics."""
    altered = replace(run)
    reports = {
        attack: [(source, {**report, "numerics": numerics}) for source, report in found]
        for attack, found in run.attack_reports.items()
    }
    object.__setattr__(altered, "attack_reports", reports)
    return altered


def test_machines_with_other_numerics_of_equal_specs_are_refused(tmp_path: Path) -> None:
    attacks = [{"preset": "pgd", "steps": 1}]
    run = run_toy(tmp_path, attacks=attacks, numerics={"bf16": "auto"})
    a, b = (
        on(run, {"fold": False, "bf16": bf16, "equal_signs": {"bf16": share}})
        for bf16, share in ((True, 0.95), (False, 0.81))
    )
    with pytest.raises(InputError, match=r"bf16 auto, but .* with bf16 in A and reference in B"):
        compare_pgd(a, b)
    notes = compare_pgd(a, b, "numerics").notes
    assert any("with bf16 in A and reference in B" in note for note in notes)
    compare_pgd(a, on(run, {"bf16": True, "equal_signs": {"bf16": 0.94}}))
    compare_pgd(run, run)


def test_all_differences_are_refused_together_in_a_line_each(run: Results) -> None:
    other = weaker(with_spec(run, numerics={"fold": True}))
    with pytest.raises(InputError) as caught:
        compare_pgd(run, other)
    assert [line.count("--allow") for line in str(caught.value).splitlines()] == [1, 1]


def test_allowed_targets_are_the_common_targets(run: Results) -> None:
    comparison = compare_pgd(run, changed(run, targets=["c", "b"]), "targets")
    assert list(comparison.matrix().columns) == ["b", "c"]
    assert list(comparison.matrix().index) == ["a", "b", "c"]


def test_sources_of_one_run_alone_are_left_out_and_named(run: Results) -> None:
    comparison = compare_pgd(run, changed(run, sources=["a"]))
    assert list(comparison.matrix().index) == ["a"]
    assert any("only A has b, c" in note for note in comparison.notes)


@pytest.mark.parametrize(("role", "named"), [("targets", "target"), ("sources", "source")])
def test_runs_without_common_models_are_refused_despite_allow(
    run: Results, role: str, named: str
) -> None:
    ours, theirs = changed(run, **{role: ["a"]}), changed(run, **{role: ["b"]})
    with pytest.raises(InputError, match=f"no {named} in common"):
        compare_pgd(ours, theirs, "targets")


@pytest.mark.parametrize(
    ("alter", "expected"),
    [
        (lambda run: changed(run, classes=["road", "tree"]), "A / B: 1: 'sky' / 'tree'"),
        (lambda run: with_spec(run, data={"label_map": {"sky": None}}), "different label maps"),
    ],
)
def test_other_classes_are_refused_despite_allow(
    run: Results, alter: Callable[[Results], Results], expected: str
) -> None:
    with pytest.raises(InputError, match=expected):
        compare_pgd(run, alter(run), "images", "targets", "eps", "numerics")


def test_unknown_allowance_is_refused_with_a_suggestion(run: Results) -> None:
    with pytest.raises(InputError, match="cannot allow 'image': did you mean 'images'"):
        compare_pgd(run, run, "image")


def test_a_run_without_results_is_refused(run: Results) -> None:
    with pytest.raises(InputError, match=r"toys \(B\) in .* has no results"):
        compare_pgd(run, replace(run, counts={}))


def test_transfer_ratios_of_two_runs_are_refused(run: Results) -> None:
    with pytest.raises(InputError, match="denominators differ"):
        compare_results(run, weaker(run), PGD, metric="ratio")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Results]:
    """Real runs: six images; the same in other shards; some of them; two repainted."""
    folder = tmp_path_factory.mktemp("stored")
    attacks = [{"preset": "pgd", "eps": "8/255", "steps": 1}]
    repainted, mixed = write_images(folder / "other", seed=5), folder / "mixed"
    for kind in ("images", "labels"):
        (mixed / kind).mkdir(parents=True)
    run = {"six": run_toy(folder, attacks=attacks)}
    for number in range(6):
        origin = repainted if number < 2 else folder / "data"
        for kind in ("images", "labels"):
            name = f"image-{number}.png"
            (mixed / kind / name).write_bytes((origin / kind / name).read_bytes())
    classes = run["six"].classes
    for name, changes in {
        "reshuffled": {"shard_size": 3, "schedule_groups": 3},
        "three": {"data": {"folder": str(folder / "data"), "classes": classes, "images": 3}},
        "mixed": {"data": {"folder": str(mixed), "classes": classes}},
        "repainted": {"data": {"folder": str(repainted), "classes": classes}},
    }.items():
        run[name] = run_toy(folder, attacks=attacks, **changes)
    return run


def test_equal_images_in_other_shards_are_common(stored: dict[str, Results]) -> None:
    a, b, notes = bring_together(stored["six"], stored["reshuffled"], PGD, ())
    assert a.image_ids == b.image_ids == stored["six"].image_ids
    assert notes == []
    for name in ("a", "b"):  # scores of clean images are independent of their shard
        assert np.array_equal(a.counts["clean", None, name], b.counts["clean", None, name])


def test_fewer_images_are_refused_or_compared_alone(stored: dict[str, Results]) -> None:
    with pytest.raises(InputError, match=r"A has 6 images and B has 3; 3 are common"):
        bring_together(stored["six"], stored["three"], PGD, ())
    a, b, _ = bring_together(stored["six"], stored["three"], PGD, ["images"])
    assert sorted(a.image_ids) == sorted(stored["three"].image_ids)
    assert a.image_ids == b.image_ids
    assert np.array_equal(a.counts["clean", None, "a"], b.counts["clean", None, "a"])


def test_image_of_equal_name_and_other_pixels_is_not_common(stored: dict[str, Results]) -> None:
    with pytest.raises(InputError, match="4 are common; 2 have a common name, but other"):
        bring_together(stored["six"], stored["mixed"], PGD, ())
    a, *_ = bring_together(stored["six"], stored["mixed"], PGD, ["images"])
    assert sorted(a.image_ids) == [f"image-{i}" for i in range(2, 6)]


def test_runs_without_common_images_are_refused_despite_allow(stored: dict[str, Results]) -> None:
    with pytest.raises(InputError, match="no image in common"):
        bring_together(stored["six"], stored["repainted"], PGD, ["images"])
