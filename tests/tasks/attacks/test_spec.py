"""Every field that an attack's identity holds changes its result, and no other field does; what
is refused, and with which sentence."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from segtransfer.tasks.attacks.components import (
    Budget,
    Momentum,
    Region,
    Smoothing,
    Target,
    Variance,
)
from segtransfer.tasks.attacks.gradient_rules.base import GRADIENTS
from segtransfer.tasks.attacks.presets import PRESETS
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.attacks.transforms import TRANSFORMS
from segtransfer.tasks.models.ensemble import EnsembleSegmenter
from tests.tasks.attacks.specs import FORMS, make
from tests.tasks.cases import halves, pictures, spec, toy

STAGED, RESIDUAL = toy("staged"), toy("residual")
MEMBERS = [STAGED, toy("staged", seed=1)]
PAIR = EnsembleSegmenter(MEMBERS, [0.5, 0.5], average="logits", own_scales=False).eval()
BASE: dict[str, Any] = {
    "name": "base",
    "eps": "6/255",
    "step_size": "2/255",
    "steps": 4,
    "momentum": {"mu": 1.0},
}
Case = tuple[dict[str, Any], dict[str, Any]]  # fields beside BASE in which it matters, the change


def within(kind: str, base: dict[str, Any], changed: dict[str, Any]) -> Case:
    """A change of one transform, which is there before and after."""
    return {"transforms": [{kind: base}]}, {"transforms": [{kind: base | changed}]}


def ruled(kind: str, base: dict[str, Any], changed: dict[str, Any]) -> Case:
    """A change of one gradient rule, which is there before and after."""
    return {"gradient": {kind: base}}, {"gradient": {kind: base | changed}}


def ds(changed: dict[str, Any], base: dict[str, Any] | None = None) -> Case:
    return within("ds", base or {}, changed)


def rule(kind: str, changed: dict[str, Any], base: dict[str, Any] | None = None) -> Case:
    """A change of one gradient rule."""
    base = base or {}
    return {"gradient": {kind: base}}, {"gradient": {kind: base | changed}}


CASES: dict[type[Any], dict[str, Case]] = {
    AttackSpec: {
        "norm": ({}, {"norm": "l2"}),
        "eps": ({}, {"eps": "4/255"}),
        "step_size": ({}, {"step_size": "1/255"}),
        "steps": ({}, {"steps": 5}),
        "budget": ({"steps": None}, {"steps": None, "budget": {"forward_equivalents": 7}}),
        "start": ({}, {"start": "uniform"}),
        "transforms": ({}, {"transforms": ["ds"]}),
        "label_version": ({"transforms": ["ds"]}, {"label_version": "labels"}),
        "loss": ({}, {"loss": "masked-cross-entropy"}),
        "layer": ({"loss": "fspgd", "layer": "backbone"}, {"layer": "head"}),
        "gradient": ({}, {"gradient": "tests.tasks.attacks.own_rules:Around"}),
        "momentum": ({}, {"momentum": None}),
        "variance": ({}, {"variance": {"neighbours": 2}}),
        "smoothing": ({}, {"smoothing": "ti"}),
        "target": ({}, {"target": {"every": 1}}),
        "region": ({}, {"region": {"classes": [1]}}),
        "restarts": ({"start": "uniform"}, {"restarts": 6}),
        "steps_at": ({}, {"steps_at": [2]}),
        "scores": ({}, {"scores": ["eps*sign"]}),
        "equal_rms": ({"scores": ["equal-rms"]}, {"equal_rms": 0.5}),
        # Each field of each loop: loops/test_spec.py.
        "loop": ({"momentum": None}, {"loop": "apgd", "step_size": None}),
    },
    Momentum: {
        "mu": ({}, {"momentum": {"mu": 0.25}}),
        "nesterov": ({}, {"momentum": {"mu": 1.0, "nesterov": True}}),
    },
    Variance: {
        "neighbours": ({"variance": {"neighbours": 2}}, {"variance": {"neighbours": 3}}),
        "bound": (
            {"variance": {"neighbours": 2}},
            {"variance": {"neighbours": 2, "bound": 4}},
        ),
    },
    Smoothing: {
        "kernel": ({"smoothing": "ti"}, {"smoothing": {"kernel": 5}}),
        "sigmas": ({"smoothing": "ti"}, {"smoothing": {"ti": {"sigmas": 1}}}),
    },
    Target: {
        "every": ({"target": {"every": 1}}, {"target": {"every": 2}}),
        "classes": ({"target": {"classes": {0: 1}}}, {"target": {"classes": {0: 2}}}),
        "others": (
            {"target": {"classes": {0: 1}}},
            {"target": {"classes": {0: 1}, "others": "ignore"}},
        ),
    },
    Region: {
        "classes": ({"region": {"classes": [1]}}, {"region": {"classes": [0, 1]}}),
        "box": ({"region": {"box": [0, 0, 0.5, 1]}}, {"region": {"box": [0, 0, 1, 0.5]}}),
    },
    Budget: {
        "forward_equivalents": (
            {"steps": None, "budget": {"forward_equivalents": 3}},
            {"budget": {"forward_equivalents": 5}},
        ),
    },
    TRANSFORMS["ds"]: {
        "low": ds({"low": 0.75}),
        "width": ds({"width": 0.5}),
        "law": ds({"law": "log-uniform"}),
        "levels": ds({"levels": 3}, {"law": "discrete"}),
        "scales": ds({"scales": 2}),
        "probability": ds({"probability": 0.3}),
        "anisotropy": ds({"anisotropy": 0.5}),
        "antialias": ds({"antialias": True}, {"low": 0.5, "width": 0}),
        "handling": ds({"handling": "native"}),
        "grid": ds({"grid": 0.5}),
        "schedule": ds({"schedule": "low-discrepancy"}),
    },
    TRANSFORMS["di"]: {
        "low": within("di", {"high": 1.5, "probability": 1}, {"low": 0.7}),
        "high": within("di", {"probability": 1}, {"high": 1.4}),
        "probability": within("di", {"high": 1.4, "probability": 1}, {"probability": 0.4}),
    },
    TRANSFORMS["rdi"]: {
        "low": within("rdi", {"high": 1.5}, {"low": 0.7}),
        "high": within("rdi", {}, {"high": 1.5}),
        "probability": within("rdi", {"high": 1.5}, {"probability": 0.4}),
    },
    TRANSFORMS["si"]: {
        "copies": within("si", {"copies": 2}, {"copies": 4}),
        "law": within("si", {"copies": 2}, {"law": "powers"}),
        "levels": within("si", {"copies": 2, "law": "powers"}, {"levels": 9}),
        "low": within("si", {"law": "uniform"}, {"low": 0.5}),
        "width": within("si", {"law": "uniform"}, {"width": 0.5}),
    },
    TRANSFORMS["flip"]: {"probability": within("flip", {}, {"probability": 1})},
    TRANSFORMS["shift"]: {"reach": within("shift", {}, {"reach": 0.5})},
    TRANSFORMS["us-mm"]: {
        "scales": within("us-mm", {"masks": 1}, {"scales": 2}),
        "masks": within("us-mm", {"masks": 1}, {"masks": 2}),
        "low": within("us-mm", {"masks": 1}, {"low": 0.5}),
        "width": within("us-mm", {"masks": 1}, {"width": 0.9}),
        "strength": within("us-mm", {"masks": 1}, {"strength": 1}),
    },
    TRANSFORMS["sia"]: {
        "copies": within("sia", {"copies": 1}, {"copies": 2}),
        "blocks": within("sia", {"copies": 1}, {"blocks": 2}),
    },
    TRANSFORMS["bsr"]: {
        "copies": within("bsr", {"copies": 1}, {"copies": 2}),
        "blocks": within("bsr", {"copies": 1}, {"blocks": 2}),
        "degrees": within("bsr", {"copies": 1}, {"degrees": 90}),
    },
    TRANSFORMS["admix"]: {
        "copies": within("admix", {"copies": 1}, {"copies": 2}),
        "strength": within("admix", {"copies": 1}, {"strength": 0.8}),
    },
    TRANSFORMS["ssa"]: {
        "copies": within("ssa", {"copies": 1}, {"copies": 2}),
        "sigma": within("ssa", {"copies": 1}, {"sigma": 0.2}),
        "rho": within("ssa", {"copies": 1}, {"rho": 0.1}),
        "gradient": within("ssa", {"copies": 1}, {"gradient": "at"}),
    },
    GRADIENTS["gra"]: {
        "samples": ruled("gra", {"samples": 1}, {"samples": 2}),
        "radius": ruled("gra", {"samples": 1}, {"radius": 1}),
        "decay": ruled("gra", {"samples": 1}, {"decay": 0.3}),
    },
    GRADIENTS["pgn"]: {
        "samples": ruled("pgn", {"samples": 1}, {"samples": 2}),
        "radius": ruled("pgn", {"samples": 1}, {"radius": 1}),
        "balance": ruled("pgn", {"samples": 1}, {"balance": 1}),
    },
    GRADIENTS["emi"]: {
        "samples": ruled("emi", {"samples": 2}, {"samples": 3}),
        "radius": ruled("emi", {"samples": 2}, {"radius": 2}),
    },
    GRADIENTS["rap"]: {
        "inner": ruled("rap", {"inner": 1}, {"inner": 2}),
        "radius": ruled("rap", {"inner": 1}, {"radius": 3}),
        "late": ruled("rap", {"inner": 1}, {"late": 0.75}),
    },
    GRADIENTS["mumodig"]: {
        "copies": ruled("mumodig", {"copies": 1}, {"copies": 2}),
        "position": ruled("mumodig", {"copies": 1}, {"position": 1}),
    },
    GRADIENTS["mef"]: {
        "samples": ruled("mef", {"samples": 1}, {"samples": 2}),
        "radius": ruled("mef", {"samples": 1}, {"radius": 1}),
        "push": ruled("mef", {"samples": 1}, {"push": 2}),
        "decay": ruled("mef", {"samples": 1, "push": 2}, {"decay": 0}),
    },
    GRADIENTS["anda"]: {
        "side": ruled("anda", {"side": 2}, {"side": 3}),
        "reach": ruled("anda", {"side": 2}, {"reach": 0.6}),
    },
    GRADIENTS["sgm"]: {"gamma": ruled("sgm", {}, {"gamma": 0.7})},
    GRADIENTS["cwa"]: {
        "reverse": rule("cwa", {"reverse": 5}),
        "inner_step": rule("cwa", {"inner_step": 0.01}),
        "mu": rule("cwa", {"mu": 0}, {"inner_step": 0.1}),
    },
    GRADIENTS["svre"]: {
        "updates": rule("svre", {"updates": 1}),
        "mu": rule("svre", {"mu": 0.1}),
    },
    GRADIENTS["adaea"]: {
        "beta": rule("adaea", {"beta": 0}),
        "threshold": rule("adaea", {"threshold": 0.3}),
    },
}
# For people, or where something lies: what lies there counts by its sha256, tested apart; the
# strongest of several attacks: test_worst_of.py.
ELSEWHERE = {
    AttackSpec: {"name", "files", "files_sha256", "loss_sha256", "worst_of"},
    Target: {"label_map", "sha256"},
    Region: {"mask", "sha256"},
}


def read(*parts: dict[str, Any]) -> AttackSpec:
    fields = {key: value for part in (BASE, *parts) for key, value in part.items()}
    return AttackSpec.model_validate({k: v for k, v in fields.items() if v is not None})


def named_cases() -> Iterator[Any]:
    for model, cases in CASES.items():
        for field, case in cases.items():
            yield pytest.param(*case, id=f"{model.__name__}.{field}")


@pytest.mark.parametrize(("base", "changed"), named_cases())
def test_a_field_of_the_identity_changes_the_result(
    base: dict[str, Any], changed: dict[str, Any]
) -> None:
    before, after = read(base), read(base, changed)
    assert before.identity() != after.identity()
    rule = before.gradient.kind if before.gradient else ""
    model = RESIDUAL if rule == "sgm" else PAIR if rule in ("cwa", "svre", "adaea") else STAGED
    assert not np.array_equal(make(model, before).images, make(model, after).images)


def test_every_field_of_every_part_has_a_case() -> None:
    parts = {AttackSpec, Momentum, Variance, Smoothing, Target, Region, Budget}
    assert set(CASES) == parts | set(TRANSFORMS.values()) | set(GRADIENTS.values())
    for model, cases in CASES.items():
        changeable = {
            name
            for name, field in model.model_fields.items()
            # A literal of one value cannot be changed.
            if not (name == "kind" and len(get_args(field.annotation)) == 1)
        }
        assert set(cases) | ELSEWHERE.get(model, set()) == changeable, model.__name__
    later = {
        name
        for name, field in AttackSpec.model_fields.items()
        if "added_later" in (field.json_schema_extra or {})
    }
    assert set(read().identity()) == set(AttackSpec.model_fields) - {"name", "files"} - later


def test_every_loss_and_every_value_of_a_choice_differ() -> None:
    """A misspelt branch would fall back to another value unseen."""
    choices: list[list[dict[str, Any]]] = [
        [{"loss": n} for n in ("cross-entropy", "masked-cross-entropy", "segpgd", "cospgd", "js")]
        + [{"loss": "mask-norm"}, {"loss": "fspgd", "layer": "backbone"}],
        [{"transforms": [{"ds": {"law": n}}]} for n in ("uniform", "log-uniform", "discrete")],
        [{"transforms": [{"ds": {"handling": n}}]} for n in ("whole", "native", "back")],
        [{"transforms": [{"si": {"law": n}}]} for n in ("all", "powers", "uniform")],
        [{"transforms": [{"ssa": {"gradient": n}}]} for n in ("through", "at")],
        [{"scores": [n], "equal_rms": 0.25} for n in FORMS],
        [{"transforms": [kind]} for kind in TRANSFORMS],
    ]
    for choice in choices:
        made = [make(STAGED, read(fields)).images.tobytes() for fields in choice]
        assert len(set(made)) == len(choice), choice


def test_prob_is_short_for_probability_in_every_transform_that_has_one() -> None:
    for kind in ("ds", "di", "rdi", "flip"):
        short, full = ({"transforms": [{kind: {name: 0.7}}]} for name in ("prob", "probability"))
        assert read(short) == read(full) != read({"transforms": [kind]})
        assert read(short).identity() == read(full).identity()


def test_the_name_is_for_people_only() -> None:
    old, new = read(), read({"name": "renamed"})
    assert old.identity() == new.identity()
    assert np.array_equal(make(STAGED, old).images, make(STAGED, new).images)


@pytest.mark.parametrize(("part", "field"), [("target", "label_map"), ("region", "mask")])
def test_file_of_a_spec_is_identified_by_content(part: str, field: str, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    for path, cut in zip(paths, (8, 8, 4), strict=True):
        Image.fromarray((np.indices((12, 16))[1] >= cut).astype(np.uint8)).save(path)
    rules = [read({part: {field: str(path)}}) for path in paths]
    assert rules[0].identity() == rules[1].identity() != rules[2].identity()
    made = [make(STAGED, rule).images for rule in rules]
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])


def test_files_count_by_their_content_not_their_place(tmp_path: Path) -> None:
    rules = []
    for name, shift in (("a", 0), ("b", 0), ("c", 1)):
        (tmp_path / name).mkdir()
        for i, image in enumerate(pictures(5, 12, 16)):
            values = np.clip(image.astype(int) + shift, 0, 255).astype(np.uint8)
            Image.fromarray(values.transpose(1, 2, 0)).save(tmp_path / name / f"image-{i}.png")
        rules.append(AttackSpec.model_validate({"name": "f", "files": str(tmp_path / name)}))
    assert rules[0].identity() == rules[1].identity() != rules[2].identity()
    made = [make(None, rule).images for rule in rules]
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])


def test_paths_start_at_the_folder_of_the_spec(tmp_path: Path) -> None:
    Image.fromarray(halves(1, 4, 4)[0]).save(tmp_path / "map.png")
    fields = {"name": "a", "target": {"label_map": "map.png"}, "region": {"mask": "map.png"}}
    rule = AttackSpec.model_validate(fields, context={"base": tmp_path})
    assert rule.target is not None
    assert rule.region is not None
    assert rule.target.label_map == rule.region.mask == str(tmp_path / "map.png")
    assert rule.target.sha256 == rule.region.sha256 is not None


def test_stored_spec_is_read_without_its_files(tmp_path: Path) -> None:
    path = tmp_path / "map.png"
    Image.fromarray(halves(1, 4, 4)[0]).save(path)
    (tmp_path / "made").mkdir()
    for rule in (
        read({"target": {"label_map": str(path)}, "region": {"mask": str(path)}}),
        AttackSpec.model_validate({"name": "f", "files": str(tmp_path / "made")}),
    ):
        written = rule.model_dump(mode="json")
        assert AttackSpec.model_validate(written) == rule
        if rule.files:
            (tmp_path / "made").rmdir()
        else:
            path.unlink()
        assert AttackSpec.model_validate(written) == rule


OWN_LOSS = """
def rising(logits, labels, context):
    return {expression}
"""


def test_users_loss_is_identified_by_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, expression in (
        ("one", "logits.mean((1, 2, 3))"),
        ("two", "logits[:, 0].sum((1, 2))"),
    ):
        (tmp_path / f"a_loss_{name}.py").write_text(OWN_LOSS.format(expression=expression))
    first, second = (read({"loss": f"a_loss_{name}:rising"}) for name in ("one", "two"))
    assert first.loss_sha256
    assert first.loss_sha256 != second.loss_sha256
    made = [make(STAGED, rule).images for rule in (first, second)]
    assert not np.array_equal(*made)
    assert AttackSpec.model_validate(first.model_dump(mode="json")) == first
    stored = first.model_dump(mode="json") | {"loss": "a_loss_that_left:rising"}
    assert AttackSpec.model_validate(stored).loss_sha256 == first.loss_sha256


@pytest.mark.parametrize(
    "loss", ["no_such_module:loss", "tests.toys:no_such_loss", "sys:exit", ":loss"]
)
def test_a_loss_that_cannot_be_read_is_refused(loss: str) -> None:
    with pytest.raises(ValidationError):
        spec(loss=loss)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("eps", 8 / 255),
        ("eps/4", 2 / 255),
        ("eps / 4", 2 / 255),
        ("eps/steps", 0.8 / 255),
        ("eps/0.5", 16 / 255),
        ("2/255", 2 / 255),
        (0.01, 0.01),
    ],
)
def test_a_step_size_may_be_relative_to_eps(written: Any, meant: float) -> None:
    assert spec(eps="8/255", steps=10, step_size=written).step_size == pytest.approx(meant)


def test_relative_step_size_follows_fields_over_a_preset() -> None:
    assert spec("fgsm", eps="4/255").step_size == 4 / 255
    assert spec("pgd", eps="4/255").step_size == pytest.approx(1 / 255)
    bought = spec("pgd", step_size="eps/steps", budget={"forward_equivalents": 16})
    assert bought.step_size == pytest.approx(0.5 / 255)


@pytest.mark.parametrize("preset", ["noise", "fgsm"])
def test_a_preset_of_fixed_length_takes_no_budget(preset: str) -> None:
    with pytest.raises(ValidationError, match=f"preset '{preset}' always has steps: [01];"):
        spec(preset, budget=10)


def test_a_budget_below_one_step_is_refused_with_its_cost() -> None:
    with pytest.raises(ValidationError, match="a step costs 21 forward equivalents, and the bu"):
        spec("vt", budget=10)


def test_few_steps_of_a_budget_are_long_enough_to_reach_the_bound() -> None:
    assert spec("ssa", eps="8/255", budget=40).step_size == pytest.approx(4 / 255)
    assert spec("pgd", eps="8/255", budget=40).step_size == pytest.approx(2 / 255)
    assert spec("ssa", eps="8/255", budget=40, step_size="1/255").step_size == 1 / 255


def test_steps_of_a_budget_are_the_budget_over_the_step_cost() -> None:
    budget = {"forward_equivalents": 40}
    assert spec("pgd", budget=budget).steps == 40
    assert spec("ds", budget=budget).steps == 37
    assert spec("si", budget=budget).steps == 8
    assert spec("vt", budget=budget).steps == 2
    assert spec("admix", budget="15").steps == 1
    # What was computed may stand beside it, as in a stored spec.
    assert spec("pgd", budget=budget, steps=40) == spec("pgd", budget=budget)


def test_short_forms() -> None:
    assert spec(smoothing="ti") == spec(smoothing={"ti": {}}) == spec(smoothing={"kind": "ti"})
    assert spec(smoothing={"ti": {"kernel": 7}}) == spec(smoothing={"kernel": 7})
    assert spec(transforms=["ds"]) == spec(transforms=[{"ds": None}])
    assert AttackSpec.model_validate("pgd") == AttackSpec.model_validate({"preset": "pgd"})


def test_variants_are_named_by_step_and_score() -> None:
    assert [m.name for m in spec("pgd").variants] == ["pgd"]
    rule = spec("pgd", steps_at=[1, 20], scores=["raw", "eps*sign", "equal-rms"])
    assert [(m.name, m.step, m.score) for m in rule.variants] == [
        ("pgd:1", 1, "raw"),
        ("pgd:1:sign", 1, "eps*sign"),
        ("pgd:1:rms", 1, "equal-rms"),
        ("pgd:20", 20, "raw"),
        ("pgd:20:sign", 20, "eps*sign"),
        ("pgd:20:rms", 20, "equal-rms"),
    ]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"preset": "pdg"}, "unknown preset 'pdg'; did you mean 'pgd'"),
    ({"stepsize": 1}, "unknown key 'stepsize'; did you mean 'step_size'"),
    ({"loss": "cross-entrpy"}, "unknown loss 'cross-entrpy'; did you mean 'cross-entropy'"),
    ({"loss": "x"}, "name a loss of your own as package.module:function"),
    ({"loss": "no_such:f"}, "loss no_such:f cannot be imported"),
    ({"transforms": ["dss"]}, "unknown transform 'dss'"),
    ({"transforms": [{"ds": {"hight": 2}}]}, "unknown key 'hight'"),
    (
        {"transforms": [{"di": {"low": 1.2, "high": 1.1}}]},
        r"high is 1.1, below low, which is 1.2; give a high",
    ),
    (
        {"layer": "backbone"},
        "layer is for feature losses such as fspgd, and loss 'cross-entropy' reads logits",
    ),
    ({"loss": "fspgd", "target": {"every": 1}}, "reads features, so a target has no effect"),
    (
        {"restarts": 2},
        "restarts is 2, and all runs would be equal; give start: uniform, or a transform",
    ),
    (
        {"steps_at": [1], "steps": None, "budget": {"forward_equivalents": 9}},
        "steps_at needs a number of steps, and a budget is given",
    ),
    ({"steps_at": [21]}, r"steps_at is \[21\]; give rising numbers from 1 to 20"),
    ({"steps_at": [0, 1]}, r"steps_at is \[0, 1\]; give rising numbers"),
    ({"steps_at": [2, 1]}, r"steps_at is \[2, 1\]; give rising numbers"),
    ({"steps_at": [2, 2]}, r"steps_at is \[2, 2\]; give rising numbers"),
    ({"scores": ["raw", "raw"]}, r"scores is \[\'raw\', \'raw\'\]; give each form once"),
    ({"budget": {"forward_equivalents": 9}}, "steps is 20, and a budget is given"),
    ({"smoothing": {"kernel": 4}}, "its width is odd; give 3 or 5"),
    ({"target": {}}, "target names nothing; give exactly one of every, classes, label_map"),
    ({"target": {"every": 1, "classes": {1: 2}}}, "target names every and classes"),
    ({"target": {"label_map": "/no/such.png"}}, "label_map /no/such.png is no file"),
    ({"files": "/no/such/folder", "steps": None}, "files /no/such/folder is no folder"),
    (
        {"files": str(Path(__file__).parent), "steps": 3},
        "files holds finished AEs; leave steps, start, restarts and scores out",
    ),
    ({"region": {}}, "region has no condition; give classes, box or mask"),
    ({"region": {"mask": "/no/such.png"}}, "mask /no/such.png is no file"),
    ({"region": {"box": [0.5, 0, 0.5, 1]}}, r"box \[0.5, 0.0, 0.5, 1.0\] is empty"),
    ({"region": {"box": [0, 0.8, 1, 0.2]}}, r"box \[0.0, 0.8, 1.0, 0.2\] is empty"),
    ({"step_size": "eps*2"}, "is not a step size"),
    ({"eps": "8/x"}, "is not a number; write 0.03 or 8/255"),
]


@pytest.mark.parametrize(("wrong", "sentence"), REFUSED, ids=[r[1] for r in REFUSED])
def test_wrong_attack_is_refused_with_an_action(wrong: dict[str, Any], sentence: str) -> None:
    fields = {"name": "a", "steps": 20, **wrong}
    with pytest.raises(ValidationError, match=sentence):
        AttackSpec.model_validate({k: v for k, v in fields.items() if v is not None})


@pytest.mark.parametrize(
    "wrong",
    [
        {"eps": -0.1},
        {"eps": 8},
        {"eps": float("nan")},
        {"steps": -1},
        {"start": "noise"},
        {"norm": "l1"},
        {"scores": []},
        {"scores": ["sign"]},
        {"equal_rms": 0},
        {"restarts": 0},
        {"restarts": 0, "steps": None, "budget": {"forward_equivalents": 9}},
        {"steps": None, "budget": {"forward_equivalents": 0}},
        {"transforms": [{"ds": {"low": 0}}]},
        {"transforms": ["ds"] * 9},
        {"transforms": "ds"},
        {"momentum": {"mu": 3}},
        {"variance": {"neighbours": 0}},
        {"target": {"every": 255}},
        {"target": {"classes": {1: 300}}},
        {"region": {"classes": []}},
        {"region": {"box": [0, 0, 2, 1]}},
        {"label_version": "both"},
        {"smoothing": "gauss"},
        {"name": "a b"},
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    fields = {"name": "a", "steps": 20, **wrong}
    with pytest.raises(ValidationError):
        AttackSpec.model_validate({k: v for k, v in fields.items() if v is not None})


@pytest.mark.parametrize("written", ["eps/", "eps/x", "eps/0", "eps4", "epsilon", "eps*2"])
def test_meaningless_step_size_is_refused(written: str) -> None:
    with pytest.raises(ValidationError, match="is not a step size"):
        spec(step_size=written)


def test_equal_restarts_are_refused() -> None:
    """From the clean image with transforms that draw nothing, too; not where neighbours differ."""
    with pytest.raises(ValidationError, match="all runs would be equal"):
        spec("si", restarts=3)
    assert spec("vt", restarts=3).restarts == 3


def test_restarts_of_a_loss_with_a_random_preparation_are_allowed() -> None:
    assert [spec(name, restarts=2).restarts for name in ("fia", "naa")] == [2, 2]
    with pytest.raises(ValidationError, match="all runs would be equal"):
        spec("ila", restarts=2)


@pytest.mark.parametrize(
    "fields", [{"scores": ["raw", "eps*sign"]}, {"scores": ["eps*sign"]}], ids=str
)
def test_files_with_scores_are_refused(fields: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="files"):
        AttackSpec.model_validate({"name": "a", "files": str(tmp_path), **fields})


@pytest.mark.parametrize("name", PRESETS)
def test_identity_reads_back_as_the_same_attack(name: str) -> None:
    rule = AttackSpec.model_validate(name)
    assert AttackSpec.model_validate({"name": "again", **rule.identity()}).identity() == (
        rule.identity()
    )


def test_unknown_key_is_answered_with_the_keys_that_a_person_writes() -> None:
    with pytest.raises(ValidationError) as refused:
        AttackSpec.model_validate({"name": "a", "presett": "pgd"})
    assert "did you mean 'preset'?" in str(refused.value)
    assert "sha256" not in str(refused.value)
    with pytest.raises(ValidationError) as refused:
        AttackSpec.model_validate({"preset": "pgd", "transforms": [{"ds": {"lo": 1}}]})
    assert "did you mean 'low'? Allowed: anisotropy, antialias, grid, handling, law" in str(
        refused.value
    )
