"""Every preset: documented, whole, reproducible, and blind to how its images are batched."""

from typing import Any

import numpy as np
import pytest

from segtransfer.tasks.attacks.components import Momentum, Smoothing, Variance
from segtransfer.tasks.attacks.gradient_rules.base import GRADIENTS
from segtransfer.tasks.attacks.presets import PRESETS
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.attacks.transforms import TRANSFORMS
from segtransfer.tasks.attacks.transforms.intensity import IntensityScales
from segtransfer.tasks.attacks.transforms.scaling import DynamicScaling
from segtransfer.tasks.models.base import Segmenter
from tests.tasks.attacks.specs import FEATURE_LOSSES, distance, make
from tests.tasks.cases import pictures, spec, toy

STAGED, RESIDUAL = toy("staged"), toy("residual")
# Steps and copies to keep the runs short.
SHORT: dict[str, dict[str, Any]] = {
    "vt": {"variance": {"neighbours": 2}},
    "ds-vt": {"variance": {"neighbours": 2}},
    "ssa": {"transforms": [{"ssa": {"copies": 2, "gradient": "at"}}]},
    "si": {"transforms": [{"si": {"copies": 2}}]},
    "admix": {"transforms": [{"admix": {"copies": 2}}, {"si": {"copies": 2}}]},
    "ssa-through": {"transforms": [{"ssa": {"copies": 2, "gradient": "through"}}]},
    "us-mm": {"transforms": [{"us-mm": {"scales": 2, "masks": 1}}]},
    "sia": {"transforms": [{"sia": {"copies": 2}}]},
    "bsr": {"transforms": [{"bsr": {"copies": 2}}]},
    **{name: {"layer": "backbone"} for name in FEATURE_LOSSES},
    "gra": {"gradient": {"gra": {"samples": 2}}},
    "pgn": {"gradient": {"pgn": {"samples": 2}}},
    "emi": {"gradient": {"emi": {"samples": 3}}},
    "rap": {"gradient": {"rap": {"inner": 2}}},
    "mumodig": {"gradient": {"mumodig": {"copies": 2}}},
    "mef": {"gradient": {"mef": {"samples": 2}}},
    "anda": {"gradient": {"anda": {"side": 2}}},
    "fgsm": {},
    "noise": {},
    # Two levels a step, so that four steps change every image.
    "alma-prox": {"step_size": "2/255"},
}
MINIMAL = ["alma-prox", "dag"]  # eps is the largest norm allowed
UNCOMPARED = ["noise", "fgsm", *MINIMAL]
RANDOM = ["noise", "di", "rdi", "vt", "admix", "ssa", "ds", "ds-mi", "ds-ti", "ds-ni", "ds-vt"]
RANDOM += [
    "ds-tuned",
    "best-transfer",
    "di-mi",
    "rdi-mi",
    "di-ti-mi",
    "flip-mi",
    "si-random",
    "us-mm",
    "ssa-through",
]
RANDOM += ["sia", "bsr", "ds-flip-mi", "ds-si-mi", "fia", "naa"]
RANDOM += ["gra", "pgn", "rap", "mumodig", "mef", "sea"]


def source(name: str) -> Segmenter:
    """A toy that the preset can attack: sgm needs one with skips."""
    return RESIDUAL if name == "sgm" else STAGED


def short(name: str) -> AttackSpec:
    steps = {} if name in ("noise", "fgsm") else {"steps": 4}
    return spec(name, **steps, **SHORT.get(name, {}))


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_whole_attack_with_a_formula_and_a_source(name: str) -> None:
    rule = AttackSpec.model_validate(name)
    assert rule.name == name
    assert len(PRESETS[name].formula) > 5
    assert PRESETS[name].source
    assert PRESETS[name].fields
    # Reading what was read changes nothing.
    assert AttackSpec.model_validate(rule.model_dump(mode="json")) == rule


def test_rules_name_the_defaults_of_their_symbols() -> None:
    def told(**values: float) -> list[str]:
        return [f"{symbol} = {value:g}" for symbol, value in values.items()]

    scaling, variance = DynamicScaling(), Variance()
    for name, parts in {
        "ds": told(low=scaling.low, width=scaling.width),
        "mi": told(mu=Momentum().mu),
        "ds-mi": told(mu=Momentum().mu),
        "ds-ni": told(mu=Momentum().mu),
        "vt": told(N=variance.neighbours, b=variance.bound),
        "ds-vt": told(N=variance.neighbours, b=variance.bound),
        "si": told(m=IntensityScales().copies),
        "ti": [f"{Smoothing().kernel} pixels"],
        "ds-ti": [f"{Smoothing().kernel} pixels"],
    }.items():
        for part in parts:
            assert part in PRESETS[name].formula, (name, part)


def test_every_preset_but_one_has_its_own_identity() -> None:
    seen = {str(AttackSpec.model_validate(name).identity()) for name in PRESETS}
    assert len(seen) == len(PRESETS)


def test_presets_have_the_fields_of_their_papers() -> None:
    read = AttackSpec.model_validate
    assert read("fgsm").steps == 1
    assert read("fgsm").step_size == read("fgsm").eps
    assert (read("noise").steps, read("noise").start) == (0, "uniform")
    assert (read("pgd").momentum, read("pgd").transforms, read("pgd").start) == (None, (), "clean")
    momentum = {"mi", "ni", "si", "vt", "admix", "ssa", "ds-mi", "ds-ni", "ds-vt"}
    momentum |= {"di-mi", "rdi-mi", "ti-mi", "di-ti-mi", "flip-mi", "si-random", "us-mm", "sia"}
    momentum |= {"ssa-through", "bsr", "ds-flip-mi", "ds-si-mi", "fia", "naa"}
    momentum |= {"gra", "pgn", "emi", "rap", "mumodig"}
    momentum |= {"cwa", "svre"}
    assert {n for n in PRESETS if read(n).momentum} == momentum | {
        "ds-tuned",
        "best-transfer",
        "mef",
        "adaea",
    }
    assert all(read(n).momentum.mu == 1 for n in momentum)  # type: ignore[union-attr]
    assert {n for n in momentum if read(n).momentum.nesterov} == {"ni", "ds-ni"}  # type: ignore[union-attr]
    assert {n for n in PRESETS if read(n).variance} == {"vt", "ds-vt"}
    assert {n for n in PRESETS if read(n).smoothing} == {
        "ti",
        "ds-ti",
        "ds-tuned",
        "ti-mi",
        "di-ti-mi",
    }
    scaled = {n for n in PRESETS if DynamicScaling() in read(n).transforms}
    assert scaled == {"ds", "ds-mi", "ds-ti", "ds-ni", "ds-vt", "ds-flip-mi", "ds-si-mi"}
    assert read("ds-tuned").transforms == (
        DynamicScaling(low=0.518, width=0.489, law="discrete", levels=8),
    )
    assert read("best-transfer").transforms[0] == DynamicScaling(low=0.623, width=0.665)
    kinds = {n: [t.kind for t in read(n).transforms] for n in PRESETS}
    assert kinds["best-transfer"] == ["ds", "di", "si"]
    assert kinds["admix"] == ["admix", "si"]
    for kind in ("di", "rdi", "si", "ssa", "us-mm", "sia", "bsr"):
        assert kinds[kind] == [kind]
    assert {kind for found in kinds.values() for kind in found} <= set(TRANSFORMS)
    rules = {n: rule.kind for n in PRESETS if (rule := read(n).gradient)}
    assert rules == {name: name for name in GRADIENTS}
    losses = {n: read(n).loss for n in PRESETS if read(n).loss != "cross-entropy"}
    assert losses == {
        "segpgd": "segpgd",
        "cospgd": "cospgd",
        "masked-ce": "masked-cross-entropy",
        "js": "js",
        "mask-norm": "mask-norm",
        **{n: n for n in ("tsallis", "uncertainty", "rp-region", *FEATURE_LOSSES)},
        "padam-cos": "cosine",
    }
    assert {n for n in PRESETS if read(n).loop} == {"apgd", "padam-ce", "padam-cos", *MINIMAL}
    assert [m.loss for m in read("sea").worst_of] == [
        "masked-cross-entropy",
        "segpgd",
        "js",
        "mask-norm",
    ]


def test_defaults_are_the_papers() -> None:
    read = AttackSpec.model_validate
    vt, ti = read("vt").variance, read("ti").smoothing
    assert vt is not None
    assert ti is not None
    assert (vt.neighbours, vt.bound) == (20, 1.5)
    assert (ti.kernel, ti.sigmas) == (15, 3)
    assert read("si").transforms[0].copies == 5
    ssa, admix = read("ssa").transforms[0], read("admix").transforms[0]
    assert (ssa.copies, ssa.sigma, ssa.rho) == (20, 16 / 255, 0.5)  # type: ignore[union-attr]
    assert ssa.gradient == "at"  # type: ignore[union-attr]
    assert read("ssa-through").transforms[0].gradient == "through"  # type: ignore[union-attr]
    for name in ("sia", "bsr"):
        blocks = read(name).transforms[0]
        assert (blocks.copies, blocks.blocks) == (20, 3)  # type: ignore[union-attr]
    mixed = read("us-mm").transforms[0]
    assert (mixed.scales, mixed.masks, mixed.low, mixed.width, mixed.strength) == (  # type: ignore[union-attr]
        5,
        3,
        0.1,
        0.65,
        0.5,
    )
    assert (admix.copies, admix.strength) == (3, 0.2)  # type: ignore[union-attr]


def test_attacks_that_are_compared_share_steps_step_size_and_bound() -> None:
    read = AttackSpec.model_validate
    own = ("apgd", "sea")
    compared = [read(n) for n in PRESETS if n not in (*UNCOMPARED, *own)]
    assert len({(a.steps, a.step_size, a.eps) for a in compared}) == 1
    own_sizes = [read("apgd"), *read("sea").worst_of]
    assert {(a.steps, a.step_size, a.eps) for a in own_sizes} == {(20, 0.0, compared[0].eps)}


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_runs_and_its_batches_change_no_bit(name: str) -> None:
    rule = short(name)
    together = make(source(name), rule, micro_batch=3)
    clean = pictures(5, 12, 16)[:3]
    moved = distance(together.images[0], clean)
    assert ((moved > 0) if name in MINIMAL else (moved == 8)).all()
    assert np.isfinite(np.concatenate([h["losses"] for h in together.report["health"]])).all()
    for micro_batch in (1, 2):
        apart = make(source(name), rule, micro_batch=micro_batch)
        assert np.array_equal(apart.images, together.images)
    if name not in ("admix", "us-mm"):
        alone = make(source(name), rule, chosen=[2], micro_batch=1)
        assert np.array_equal(alone.images[:, 0], together.images[:, 2])


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_reproducible_and_draws_from_its_seed(name: str) -> None:
    rule = short(name)
    first, again = make(source(name), rule), make(source(name), rule)
    assert np.array_equal(first.images, again.images)
    reseeded = make(source(name), rule, seed=1)
    assert np.array_equal(first.images, reseeded.images) == (name not in RANDOM)
