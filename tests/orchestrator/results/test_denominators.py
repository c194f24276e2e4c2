"""Transfer ratios divide by the strongest white box computed, and reports name it per target."""

import numpy as np
import pytest

from segtransfer.forecast.cost_model import forwards
from segtransfer.reporting.surfaces import tables_of
from segtransfer.results import Results
from segtransfer.results.denominators import denominators
from segtransfer.results.views import transfer_matrix
from segtransfer.tasks.attacks.spec import AttackSpec
from tests.orchestrator.toy_experiments import run_toy

MEMBERS = [{"preset": "js", "steps": 3}, {"preset": "pgd", "name": "climb", "loop": "apgd"}]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    eps = {"eps": "2/255"}
    attacks = [
        {"preset": "pgd", "steps": 1, **eps},
        {"preset": "apgd", "steps": 6, **eps},
        {"name": "worst", "worst_of": MEMBERS, **eps},
        {"preset": "mi", "steps": 2, "eps": "1/255"},
    ]
    return run_toy(tmp_path_factory.mktemp("divided"), attacks=attacks)


def test_the_denominator_is_the_worst_of_all_that_was_computed(results: Results) -> None:
    for target in results.targets:
        diagonal = {a: results.matrix(a).loc[target, target] for a in ("pgd", "apgd", "worst")}
        name, source = results.strongest("pgd", target) or ("", "")
        assert source == target
        assert diagonal[name] == min(diagonal.values())
        drops = results.matrix("pgd", "drop")[target]
        most = results.clean()[target] - diagonal[name]
        assert np.allclose(results.matrix("pgd", "ratio")[target], 100 * drops / most)


def test_reports_of_ratios_name_the_denominator_per_target(results: Results) -> None:
    told = denominators(results, results.attacks)
    assert len(told) == 2  # two eps
    for target in results.targets:
        name, _ = results.strongest("pgd", target) or ("", "")
        assert f"{name} on {target}" in told[0]
        assert f"mi on {target}" in told[1]
    (table,) = tables_of(results, "pgd", "ratio")
    assert told[0] in table.notes
    assert told[1] not in table.notes
    (board,) = tables_of(results, None, "ratio")
    assert set(told) <= set(board.notes)
    (other,) = tables_of(results, "pgd", "miou")
    assert told[0] not in other.notes


def test_an_attack_with_a_loop_or_members_is_told_in_words(results: Results) -> None:
    assert "6 steps, loop apgd" in transfer_matrix(results, "apgd").settings
    worst = transfer_matrix(results, "worst").settings
    assert "23 steps, per image the strongest of js and climb" in worst
    warned = {attack for warning in results.warnings for attack in warning.attacks}
    assert not {"apgd", "worst"} & warned


def test_a_forecast_counts_the_forwards_of_all_members() -> None:
    spec = AttackSpec.model_validate({"name": "worst", "worst_of": MEMBERS})
    assert forwards(spec, (16, 16)) == pytest.approx((3 + 1 + 21 + 1,) * 2)
