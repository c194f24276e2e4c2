"""The recipe that shows whether everything runs names everything, and it does run."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from segtransfer import open_results
from segtransfer.cli import app
from segtransfer.experiment.reading import read_experiment
from segtransfer.tasks.attacks.presets import PRESETS
from segtransfer.tasks.models.zoo import ZOO


def test_all_presets_is_every_preset_on_every_zoo_model() -> None:
    experiment = read_experiment("all-presets")
    assert [attack.name for attack in experiment.attacks] == list(PRESETS)
    assert {model.name: model.zoo for model in experiment.models} == {name: name for name in ZOO}
    for attack in experiment.attacks:
        # Fewer steps than the preset's own, and nothing else, lest something else is what runs.
        steps = attack.worst_of[0].steps if attack.worst_of else attack.steps
        fields = {"preset": attack.name, "steps": steps, "eps": attack.eps}
        assert attack == type(attack).model_validate(fields)


@pytest.mark.slow
def test_all_presets_runs_and_no_task_fails(tmp_path: Path) -> None:
    changes = [f"runtime.store={tmp_path / 'store'}", "runtime.executor=inline", "--no-tracking"]
    answer = CliRunner().invoke(app, ["run", "all-presets", *changes])
    assert answer.exit_code == 0, answer.output
    (results,) = open_results(tmp_path / "store")
    assert not results.failures
    assert results.attacks == list(PRESETS)
    for attack in results.attacks:
        assert results.matrix(attack).notna().all(axis=None), attack
