"""The Optuna study of a search: storage, first proposals, resume and reading."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from segtransfer.errors import InputError
from segtransfer.searches.context import SearchContext
from segtransfer.searches.optuna_study import (
    INTERRUPTED,
    REASON,
    SCORE,
    chosen,
    close_trials,
    drops_of,
    ended,
    front,
    importances,
    open_storage,
    open_study,
    ranked,
    read_trials,
    sampler_of,
    study_name,
    trials_frame,
)
from segtransfer.searches.search import _closed_at_end
from segtransfer.store import Store
from tests.orchestrator.searches.searches import (
    STEP_SIZE,
    grey_context,
    made_score,
    made_trial,
    space,
    step,
)
from tests.orchestrator.stores import bucket_server, new_store

FIRST = [step(16), step(12), step(20)]


@pytest.fixture
def context(tmp_path: Path) -> SearchContext:
    """Four trials, of which the space proposes three."""
    return grey_context(tmp_path, search={"space": space(STEP_SIZE, *FIRST)})[0]


def opened(context: SearchContext, *, resume: bool = False) -> optuna.Study:
    """Return the study as a new process opens it."""
    return open_study(context, open_storage(context, Store(context.store)), resume=resume)


def ask(study: optuna.Study) -> optuna.Trial:
    trial = study.ask()
    trial.suggest_float("step_size", 8 / 255, 24 / 255)
    return trial


def tell(study: optuna.Study, trial: optuna.Trial, transfer: float, rung: int = 2) -> None:
    """Return a complete trial, or a pruned trial if ``rung`` is not the last."""
    trial.set_user_attr(SCORE, asdict(made_score(transfer, rung=rung)))
    if rung == 2:
        study.tell(trial, transfer)
    else:
        study.tell(trial, state=TrialState.PRUNED)


def waiting(study: optuna.Study) -> list[dict[str, Any]]:
    trials = study.get_trials(states=(TrialState.WAITING,))
    return [trial.system_attrs["fixed_params"] for trial in trials]


# -- storage ----------------------------------------------------------------------------------


def test_a_study_is_a_journal_in_the_store_under_the_searches_identity(
    context: SearchContext,
) -> None:
    study = opened(context)
    assert study.study_name == study_name(context) == f"search-{context.identity[:16]}"
    journals = [*Path(context.store).rglob("*.journal")]
    assert len(journals) == 1
    assert journals[0].parent.name == context.identity


@pytest.mark.parametrize("kind", ["file", "sqlite"])
def test_study_is_stored_in_the_named_storage(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"study.{kind}"
    storage = str(path) if kind == "file" else f"sqlite:///{path}"
    changes: dict[str, Any] = {"space": space(STEP_SIZE, *FIRST), "storage": storage}
    context = grey_context(tmp_path, search=changes)[0]
    study = opened(context)
    tell(study, ask(study), 50.0)
    assert path.stat().st_size > 0
    assert not [*Path(context.store).rglob("*.journal")]
    again = opened(context, resume=True)
    assert [trial.value for trial in ended(again)] == [50.0]
    assert study.study_name in optuna.get_all_study_names(
        open_storage(context, Store(context.store))
    )


def test_a_bucket_holds_no_study(context: SearchContext, tmp_path: Path) -> None:
    with bucket_server() as query:
        store = new_store("bucket", tmp_path, query)
        with pytest.raises(InputError, match="is a bucket, which cannot hold an Optuna study") as e:
            open_storage(context, store)
        assert "search.storage" in str(e.value)
        elsewhere = context.search.search.model_copy(update={"storage": str(tmp_path / "journal")})
        search = context.search.model_copy(update={"search": elsewhere})
        open_storage(replace(context, search=search), store)


@pytest.mark.parametrize(
    "storage",
    [
        "nosuch://me:s3cret@host/studies",
        "nosuch://me:s3c@ret@host/studies",
        "postgresql://me:s3cret@host:port/studies",
        "postgresql://me:s3cret@localhost:1/studies",
        "nosuch:///studies?user=me&password=s3cret",
        "sqlite:////nowhere/at/all/study.db",
        "/nowhere/at/all/study.journal",
    ],
)
def test_unusable_storage_is_refused_without_its_password(
    storage: str, context: SearchContext
) -> None:
    settings = context.search.search.model_copy(update={"storage": storage})
    elsewhere = replace(context, search=context.search.model_copy(update={"search": settings}))
    with pytest.raises(InputError, match=r"^search.storage ") as raised:
        opened(elsewhere)
    error: BaseException | None = raised.value
    while error is not None:
        assert "s3c" not in str(error)
        assert "ret@" not in str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


# -- first and repeated proposals ---------------------------------------------------------------


def test_a_new_study_proposes_the_first_points_once(context: SearchContext) -> None:
    study = opened(context)
    assert waiting(study) == FIRST
    assert [ask(study).params for _ in FIRST] == FIRST
    assert waiting(opened(context, resume=True)) == FIRST, "the trials that ran, and no others"


def test_objectives_have_their_directions(tmp_path: Path) -> None:
    objectives = ["transfer", "cost", "rms", "ssim"]
    study = opened(grey_context(tmp_path, search={"objectives": objectives})[0])
    names = [direction.name.lower() for direction in study.directions]
    assert names == ["maximize", "minimize", "minimize", "maximize"]


def test_search_with_stored_trials_continues_only_with_resume(
    context: SearchContext,
) -> None:
    study = opened(context)
    tell(study, ask(study), 60.0)
    ask(study)
    with pytest.raises(InputError) as raised:
        opened(context)
    assert str(raised.value) == (
        "The store has 1 of 4 trials of this search. Add --resume to continue the search, or "
        "change seed for a new search."
    )
    states = [trial.state.name for trial in study.get_trials()]
    assert states == ["COMPLETE", "RUNNING", "WAITING"], "no trial continued without resume"


def test_search_that_ended_before_its_first_trial_starts_again_without_resume(
    context: SearchContext,
) -> None:
    assert waiting(opened(context)) == waiting(opened(context)) == FIRST


def test_complete_search_is_read_again_without_resume(context: SearchContext) -> None:
    study = opened(context)
    for transfer in (60.0, 40.0, 50.0, 45.0):
        tell(study, ask(study), transfer)
    again = opened(context)
    assert [trial.value for trial in ended(again)] == [60.0, 40.0, 50.0, 45.0]
    assert not waiting(again)


def test_interrupted_trials_are_failed_and_proposed_again(context: SearchContext) -> None:
    study = opened(context)
    tell(study, ask(study), 60.0)
    ask(study)
    again = opened(context, resume=True)
    states = [trial.state.name for trial in again.get_trials()]
    assert states == ["COMPLETE", "FAIL", "FAIL", "WAITING", "WAITING"]
    assert [INTERRUPTED in trial.user_attrs for trial in again.get_trials()] == [0, 1, 1, 0, 0]
    assert waiting(again) == FIRST[1:]
    assert [trial.number for trial in ended(again)] == [0], "an interrupted trial does not count"
    assert [trial.number for trial in read_trials(again)] == [0]


def test_a_trial_interrupted_twice_is_proposed_once(context: SearchContext) -> None:
    study = opened(context)
    ask(study)
    opened(context, resume=True)
    again = opened(context, resume=True)
    assert waiting(again) == FIRST
    for _ in range(3):
        ask(again)
    assert waiting(opened(context, resume=True)) == FIRST


def test_closed_study_has_no_trial_waiting_and_resume_proposes_each_point_once(
    context: SearchContext,
) -> None:
    storage = open_storage(context, Store(context.store))
    study = open_study(context, storage, resume=False)
    tell(study, ask(study), 60.0)
    ask(study)
    close_trials(study, storage)
    states = [trial.state.name for trial in opened_only(context).get_trials()]
    assert states == ["COMPLETE", "FAIL", "FAIL"]
    assert waiting(opened(context, resume=True)) == FIRST[1:]
    assert waiting(opened(context, resume=True)) == FIRST[1:]


@pytest.mark.parametrize("end", [None, KeyboardInterrupt, RuntimeError])
def test_search_with_any_end_has_no_trial_waiting(
    end: type[BaseException] | None, context: SearchContext
) -> None:
    storage = open_storage(context, Store(context.store))
    study = open_study(context, storage, resume=False)
    expected: AbstractContextManager[Any] = nullcontext() if end is None else pytest.raises(end)
    with expected, _closed_at_end([study], storage):
        ask(study)
        if end is not None:
            raise end
    assert {trial.state.name for trial in opened_only(context).get_trials()} == {"FAIL"}


def test_search_without_trials_left_proposes_nothing_again(context: SearchContext) -> None:
    fewer = changed(context, trials=2)
    study = opened(fewer)
    for transfer in (60.0, 50.0):
        tell(study, ask(study), transfer)
    assert not waiting(opened(fewer)), "the third of its first points"
    assert waiting(opened(context, resume=True)) == FIRST[2:], "more trials include the third point"


def test_interrupted_trials_of_an_earlier_version_are_not_proposed_twice(
    context: SearchContext,
) -> None:
    """It proposed them again at once, and had no other mark."""
    study = opened(context)
    for point in FIRST:
        ask(study).set_user_attr(INTERRUPTED, True)
        study.enqueue_trial(point)
    for number in range(3):
        study.tell(number, state=TrialState.FAIL)
    assert waiting(opened(context, resume=True)) == FIRST


def changed(context: SearchContext, **settings: Any) -> SearchContext:
    search = context.search.search.model_copy(update=settings)
    return replace(context, search=context.search.model_copy(update={"search": search}))


def opened_only(context: SearchContext) -> optuna.Study:
    """Return the study as Optuna's dashboard opens it."""
    storage = open_storage(context, Store(context.store))
    return optuna.load_study(study_name=study_name(context), storage=storage)


def test_study_has_attributes_with_eps_as_given(context: SearchContext) -> None:
    opened(context)
    about = opened_only(context).user_attrs
    assert about["attack"]["eps"] == "64/255"
    assert (about["sources"], about["targets"], about["images"]) == ("source", "target", 4)
    assert (about["sampler"], about["pruner"], about["space"]) == ("tpe", "asha", "mine")


def test_study_names_its_metrics(context: SearchContext, tmp_path: Path) -> None:
    opened(context)
    assert opened_only(context).metric_names == ["transfer"]
    two = grey_context(tmp_path, search={"objectives": ["transfer", "cost"]})[0]
    opened(two)
    assert opened_only(two).metric_names == ["transfer", "cost"]


# -- random draws -----------------------------------------------------------------------------


def drawn(context: SearchContext, count: int) -> list[float]:
    """Return the step sizes of ``count`` trials that a resumed search proposes and ends."""
    study = opened(context, resume=True)
    study.sampler = sampler_of(context.search, study)
    trials = [ask(study) for _ in range(count)]
    for trial in trials:
        tell(study, trial, 50.0)
    return [trial.params["step_size"] for trial in trials]


def test_resumed_search_proposes_other_random_points(tmp_path: Path) -> None:
    context = grey_context(tmp_path, search={"trials": 12, "startup": 12})[0]
    points = [*drawn(context, 4), *drawn(context, 4), *drawn(context, 4)]
    assert len(set(points)) == 12


def test_a_new_search_draws_by_its_own_seed(tmp_path: Path) -> None:
    first = space(STEP_SIZE, step(16))
    context = grey_context(tmp_path, search={"trials": 12, "startup": 12, "space": first}, seed=5)[
        0
    ]
    by_hand = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=5))
    expected = [ask(by_hand).params["step_size"] for _ in range(2)]
    assert drawn(context, 3) == [16 / 255, *expected], "a waiting point is no trial"


# -- reading -----------------------------------------------------------------------------------


@pytest.fixture
def four(context: SearchContext) -> optuna.Study:
    """One trial of each kind: through, pruned, failed, running."""
    study = opened(context)
    tell(study, ask(study), 60.0)
    tell(study, ask(study), 20.0, rung=0)
    failed = ask(study)
    failed.set_user_attr(REASON, "this loss refuses")
    study.tell(failed, state=TrialState.FAIL)
    ask(study)
    return study


def test_trials_are_read_with_state_score_and_reason(four: optuna.Study) -> None:
    trials = read_trials(four)
    assert [t.state for t in trials] == ["complete", "pruned", "failed", "running"]
    assert [t.number for t in ended(four)] == [0, 1, 2]
    assert [t.point for t in trials[:3]] == FIRST
    assert trials[0].score == made_score(60.0)
    assert trials[1].score == made_score(20.0, rung=0)
    assert (trials[2].score, trials[2].reason) == (None, "this loss refuses")
    assert trials[3].score is None


def test_a_frame_has_a_row_a_trial(four: optuna.Study) -> None:
    frame = trials_frame(read_trials(four))
    assert list(frame["state"]) == ["complete", "pruned", "failed", "running"]
    assert list(frame["transfer"].dropna()) == [60.0, 20.0]
    assert list(frame["step_size"][:3]) == [point["step_size"] for point in FIRST]
    assert list(frame["images"].dropna()) == [4, 4]
    assert frame["reason"][2] == "this loss refuses"


def test_trials_are_ranked_by_transfer_with_equal_points_once() -> None:
    trials = [made_trial(n, t) for n, t in enumerate([30.0, 50.0, 40.0])]
    twin = replace(made_trial(3, 50.0), point=trials[1].point)
    pruned, failed = made_trial(4, 90.0, state="pruned"), made_trial(5, 90.0, state="failed")
    assert [t.number for t in ranked([*trials, twin, pruned, failed])] == [1, 2, 0]
    assert [trial.number for trial, _ in drops_of([*trials, twin, pruned])] == [1, 2, 0]


def test_front_has_only_trials_not_dominated_by_others() -> None:
    values = [(50.0, 4.0), (40.0, 2.0), (40.0, 3.0), (30.0, 2.0), (10.0, 1.0), (50.0, 4.0)]
    trials = [made_trial(n, transfer, cost) for n, (transfer, cost) in enumerate(values)]
    assert [t.number for t in front(trials, ("transfer", "cost"))] == [0, 5, 1, 4]
    assert [t.number for t in front(trials, ("transfer",))] == [0, 5]


def test_the_chosen_are_the_best_by_their_rank(tmp_path: Path) -> None:
    context = grey_context(tmp_path, confirm={"best": 2})[0]
    trials = [made_trial(n, t) for n, t in enumerate([30.0, 50.0, 40.0])]
    best = chosen(context, trials)
    assert [attack.name for attack in best] == ["best-1", "best-2"]
    assert [attack.step_size for attack in best] == [9 / 255, 10 / 255]
    assert chosen(context, []) == []
    assert len(chosen(context, trials[:1])) == 1, "there is a single trial"


def test_trial_equal_to_a_baseline_or_a_better_trial_is_left_out(tmp_path: Path) -> None:
    baseline = {"preset": "pgd", "step_size": 9 / 255}
    context = grey_context(tmp_path, confirm={"best": 3, "baselines": [baseline]})[0]
    trials = [made_trial(n, t) for n, t in enumerate([30.0, 50.0, 40.0])]
    best = chosen(context, trials)
    assert [attack.name for attack in best] == ["best-1", "best-2"]
    assert [attack.step_size for attack in best] == [10 / 255, 8 / 255]
    (only,) = chosen(context, trials[1:2])
    assert only.step_size == 9 / 255, "the best remains if every trial is a baseline"


def test_with_two_objectives_the_chosen_are_of_the_front(tmp_path: Path) -> None:
    objectives = {"objectives": ["transfer", "cost"]}
    context = grey_context(tmp_path, search=objectives, confirm={"best": 3})[0]
    values = [(50.0, 4.0), (45.0, 5.0), (40.0, 2.0)]
    trials = [made_trial(n, transfer, cost) for n, (transfer, cost) in enumerate(values)]
    assert [attack.step_size for attack in chosen(context, trials)] == [8 / 255, 10 / 255]


def test_importances_are_of_a_high_transfer_and_wait_for_enough_trials(
    context: SearchContext,
) -> None:
    study = opened(context)
    tell(study, ask(study), 60.0)
    assert importances(study) == {}
    made = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(100):
        trial = made.ask()
        high, low = trial.suggest_float("high", 0, 1), trial.suggest_float("low", 0, 1)
        # Of the worst trials ``low`` alone decides, of the best ``high`` nearly alone.
        made.tell(trial, -1.0 - low if low > 0.7 else high)
    found = importances(made)
    assert found["high"] > 2 * found["low"]
