"""A stored report of an attack has each statistic once per image, each value in its range."""

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segtransfer.results import Results
from segtransfer.results.checked import attack_images, attack_report
from segtransfer.store import CommitRow, Store
from segtransfer.store.maintenance import compact, find_damage, remove_damage, verify
from segtransfer.store.reports import is_attack_report
from segtransfer.store.rows import encode_rows, row_path
from tests.orchestrator.stores import images_of, make_shard, report_of
from tests.orchestrator.toy_experiments import assert_same_bits, run_toy

Change = Callable[[dict[str, list[Any]]], object]
ATTACKS = [{"preset": "pgd", "eps": "8/255", "steps": 1}]
WRONG: dict[str, Change] = {
    "a statistic is missing": lambda table: table.pop("at_bound"),
    "a foreign statistic": lambda table: table.update(lpips=[0.0] * len(table["rms"])),
    "a value too few": lambda table: [column.pop() for column in table.values()],
    "a value too many": lambda table: [column.append(1.0) for column in table.values()],
    "columns of two lengths": lambda table: table["rms"].append(1.0),
    "linf above 255": lambda table: table["linf"].__setitem__(0, 256.0),
    "linf below 0": lambda table: table["linf"].__setitem__(0, -1.0),
    "rms above 255": lambda table: table["rms"].__setitem__(0, math.inf),
    "at_bound above 1": lambda table: table["at_bound"].__setitem__(0, 1.5),
    "at_bound below 0": lambda table: table["at_bound"].__setitem__(0, -0.5),
    "mean_abs infinite": lambda table: table["mean_abs"].__setitem__(0, math.inf),
    "psnr below 0": lambda table: table["psnr"].__setitem__(0, -1.0),
    "an integer beyond floats": lambda table: table["psnr"].__setitem__(0, 10**400),
    "no number": lambda table: table["psnr"].__setitem__(0, math.nan),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The report of two variants of two images, of which one is unchanged."""
    shard = make_shard(tmp_path_factory.mktemp("shard"))
    made = images_of(shard, 1)
    made[0, 0] = shard.images[0]
    return report_of(shard, made)


def attack_row(results: Results) -> CommitRow:
    key = next(cell.attack_key for cell in results.manifest.cells if cell.attack_key)
    row = results.store.row(key)
    assert row is not None
    return row


def forge(store: Store, row: CommitRow, change: Change) -> None:
    """Write a row, with its hash, whose report is altered."""
    report = copy.deepcopy(row.report)
    change(report["perturbation"][0])
    store.files.write(row_path(row.key), encode_rows([CommitRow(**vars(row) | {"report": report})]))


def test_the_report_of_an_attack_is_accepted(sound: dict[str, Any]) -> None:
    assert math.inf in sound["perturbation"][0]["psnr"]
    assert is_attack_report(sound, 2, 2)
    assert is_attack_report(sound, 1, None)


@pytest.mark.parametrize(("variants", "images"), [(3, 2), (2, 1), (2, 3)])
def test_report_of_other_variants_or_images_is_invalid(
    sound: dict[str, Any], variants: int, images: int
) -> None:
    assert not is_attack_report(sound, variants, images)


@pytest.mark.parametrize("wrong", WRONG)
def test_report_with_wrong_statistics_is_invalid(sound: dict[str, Any], wrong: str) -> None:
    report = copy.deepcopy(sound)
    WRONG[wrong](report["perturbation"][1])
    assert not is_attack_report(report, 2, 2)


@pytest.mark.parametrize("wrong", ["linf above 255", "a value too few"])
@pytest.mark.parametrize("compacted", [False, True])
def test_a_row_with_a_wrong_report_is_found_and_computed_again(
    tmp_path: Path, wrong: str, compacted: bool
) -> None:
    oracle = run_toy(tmp_path, attacks=ATTACKS)
    store, row = oracle.store, attack_row(oracle)
    forge(store, row, WRONG[wrong])
    if compacted:
        compact(store)
    assert attack_images(store, row.key, 1) is None
    count = len(row.report["perturbation"][0]["rms"])
    assert attack_report(store, row.key, 1, count) is None
    (finding,) = verify(store).findings
    assert "the report in the row does not fit the attack" in finding.sentence
    remove_damage(store, find_damage(store))
    assert verify(store).sound, verify(store).findings
    again = run_toy(tmp_path, attacks=ATTACKS)
    assert again.computed == 1
    assert_same_bits(again, oracle)


def test_a_run_computes_a_wrong_report_again_without_a_repair(tmp_path: Path) -> None:
    first = run_toy(tmp_path, attacks=ATTACKS)
    row = attack_row(first)
    forge(first.store, row, WRONG["linf above 255"])
    assert run_toy(tmp_path, attacks=ATTACKS).computed == 1
    assert attack_row(first).report["perturbation"] == row.report["perturbation"]
    assert verify(first.store).sound
