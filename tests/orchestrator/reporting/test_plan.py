"""The plan's page shows the numbers it was given, on one screen."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from segtransfer.cli import app
from segtransfer.experiment.plan import Plan, make_plan
from segtransfer.forecast.calibration import read_rates
from segtransfer.forecast.cost_model import GivenRates
from segtransfer.forecast.forecast import Forecast, forecast
from segtransfer.reporting.plan import duration, print_plan
from segtransfer.statistics.power import Power, Spread
from segtransfer.store import Store
from segtransfer.store.measured_costs import LinearCost, ModelRates
from tests.orchestrator.toy_experiments import toy_experiment

runner = CliRunner()
NONE = GivenRates()


def planned(folder: Path, given: GivenRates = NONE, **changes: Any) -> tuple[Plan, Forecast]:
    experiment = toy_experiment(folder, **changes)
    store = Store(experiment.runtime.store)
    plan = make_plan(experiment, store)
    return plan, forecast(plan, store, read_rates(plan, store, given), (1, 2))


def page(plan: Plan, found: Forecast | None, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_plan(plan, console, found)
    return console.file.getvalue()  # type: ignore[attr-defined]


def words(text: str) -> str:
    return " ".join(text.split())


def test_the_page_shows_every_fleet_with_its_numbers(tmp_path: Path) -> None:
    plan, found = planned(tmp_path, GivenRates(forward=2.0, startup=7.0, switch=3.0))
    lines = page(plan, found).splitlines()
    for fleet in found.fleets:
        (line,) = (row for row in lines if row.startswith(f"│ {fleet.name} "))
        cells = [cell.strip() for cell in line.strip("│").split("│")]
        assert cells[1] == duration(fleet.makespan)
        assert cells[2] == duration(fleet.bound)
        assert cells[3] == f"{100 * fleet.bound / fleet.makespan:.0f} %"
        assert cells[4] == f"{fleet.device_hours:.2f}"
        assert cells[6] == str(fleet.simulation.loads)


def test_rates_name_their_origin(tmp_path: Path) -> None:
    plan, found = planned(tmp_path)
    assert "assumed, not measured: add --calibrate" in words(page(plan, found))
    plan, found = planned(tmp_path, GivenRates(forward=2.0, startup=7.0, switch=3.0))
    text = words(page(plan, found))
    assert "per image 2 for a forward and 5 for a step of PGD; 3 to load a model (as given)" in text
    assert "7 to start a worker (given)" in text
    forward, step = LinearCost(0.05, 0.2), LinearCost(0.5, 0.25)
    model = ModelRates(0.5, forward, step, step, 0.0, 3 * 2**20)
    measured = dict.fromkeys(plan.models, model)
    rates = replace(
        found.rates,
        models=measured,
        measured=frozenset(measured),
        given=GivenRates(),
        device="Abacus 9",
    )
    text = words(page(plan, replace(found, rates=rates)))
    assert "per image 0.25 for a forward and 0.75 for a step of PGD" in text
    assert "measured on Abacus 9" in text
    assert "3.0 MiB of memory" in text
    some = replace(rates, measured=frozenset(list(measured)[:1]))
    assert "measured for 1 of 2 models" in words(page(plan, replace(found, rates=some)))


def test_power_is_points_of_miou_with_origin(tmp_path: Path) -> None:
    plan, found = planned(tmp_path)
    power = Power(1.23, 100, 8, Spread(4.0, 1.0, "ds minus pgd in mine, 3 cells"))
    text = words(page(plan, replace(found, power=power)))
    assert (
        "smallest detectable paired difference: 1.23 points of mIoU, with 100 images in 8" in text
    )
    assert "80 % power" in text
    assert "ds minus pgd in mine, 3 cells" in text
    assumed = replace(power, spread=Spread(4.0, 1.0, ""))
    text = words(page(plan, replace(found, power=assumed)))
    assert "assumed spreads: 4 per image, 1 per group" in text
    none = replace(power, difference=None)
    assert "set more schedule_groups" in words(page(plan, replace(found, power=none)))


def test_bars_follow_the_utilisation(tmp_path: Path) -> None:
    plan, found = planned(tmp_path)
    first = found.fleets[0]
    curve = (0.0,) * 20 + (0.5,) * 10 + (1.0,) * 10
    drawn = replace(first, simulation=replace(first.simulation, curve=curve))
    text = page(plan, replace(found, fleets=(drawn, *found.fleets[1:])))
    (bars,) = (
        line.split("│")[1]
        for line in text.splitlines()
        if line.startswith("calls") and "this" in line
    )
    assert bars == " " * 20 + "▄" * 10 + "█" * 10


@pytest.mark.parametrize("width", [80, 100])
def test_the_page_fits_a_screen(width: int, tmp_path: Path) -> None:
    plan, found = planned(tmp_path)
    lines = page(plan, found, width).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    assert len(lines) <= 45


def test_extrapolated_forecast_names_simulated_part(tmp_path: Path) -> None:
    plan, found = planned(tmp_path)
    assert "one shard in" not in page(plan, found)
    assert "one shard in 4 was simulated" in words(page(plan, replace(found, part=4)))


def test_a_stored_experiment_needs_no_fleet(tmp_path: Path) -> None:
    plan, found = planned(tmp_path)
    done = replace(plan, stored=frozenset(plan.tasks))
    text = page(done, found)
    assert "makespan" not in text
    assert "smallest detectable paired difference" in words(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.9, "59.9 s"), (245, "4 min 05 s"), (3599.7, "1 h 00 min"),
     (12_000, "3 h 20 min"), (449_280, "5.2 days")],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_plan_command_calibrates_once_and_reuses_rates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = tmp_path / "mine.yaml"
    experiment = toy_experiment(tmp_path)
    spec.write_text(experiment.model_dump_json())
    first = runner.invoke(app, ["plan", str(spec), "--slots", "1,3"], env={"COLUMNS": "100"})
    assert first.exit_code == 0, first.output
    assert "assumed, not measured" in words(first.output)
    assert "│ 3 " in first.output
    measured = runner.invoke(app, ["plan", str(spec), "--calibrate"], env={"COLUMNS": "100"})
    assert "measured on" in words(measured.output), measured.output
    later = runner.invoke(app, ["plan", str(spec)], env={"COLUMNS": "100"})
    assert "measured on" in words(later.output)
    assert "this process" in later.output
    assert "largest fleet" not in words(later.output), "no other fleet was asked for"
    asked = runner.invoke(app, ["plan", str(spec), "runtime.fleet.slots=5"])
    assert "│ 5 " in asked.output
    given = runner.invoke(app, ["plan", str(spec), "--seconds-per-forward", "3"])
    assert "as given" in words(given.output)
    wrong = runner.invoke(app, ["plan", str(spec), "--slots", "0"])
    assert wrong.exit_code == 2
    assert "not a list of numbers from 1 to 65536" in words(wrong.output)
