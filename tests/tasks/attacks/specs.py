"""Random attacks for hypothesis, and the pieces that several tests of attacks share."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from segtransfer.tasks.attack import AttackResult, attack
from segtransfer.tasks.attacks.context import AttackContext, make_context
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.attacks.step_random import StepRandom
from segtransfer.tasks.attacks.transforms.views import TransformContext
from segtransfer.tasks.models.base import Segmenter
from tests.tasks.cases import annotations, as_tensors, ids, pictures

HEIGHT, WIDTH = 12, 16


def make(
    model: Segmenter | None,
    rule: AttackSpec,
    *,
    chosen: Sequence[int] = (0, 1, 2),
    micro_batch: int = 3,
    classes: int = 3,
    seed: int = 0,
    group: int = 0,
    height: int = HEIGHT,
    width: int = WIDTH,
) -> AttackResult:
    """``tasks.attack`` on some of five random pictures."""
    count, chosen = 5, list(chosen)
    images, labels = pictures(count, height, width), annotations(count, height, width, classes)
    return attack(
        model,
        rule,
        images[chosen],
        labels[chosen],
        [ids(count)[i] for i in chosen],
        seed=seed,
        group=group,
        micro_batch=micro_batch,
    )


def tensors(
    count: int, height: int = HEIGHT, width: int = WIDTH, classes: int = 3
) -> tuple[torch.Tensor, torch.Tensor]:
    """The random pictures as the loop takes them."""
    return as_tensors(pictures(count, height, width), annotations(count, height, width, classes))


def context_of(
    model: Segmenter, rule: AttackSpec, images: torch.Tensor, labels: torch.Tensor, seed: int = 0
) -> AttackContext:
    names = ids(len(images))
    return make_context(model, rule, images, labels, names, seed=seed, group=0)


def step_context(
    images: torch.Tensor, *, step: int = 0, divisor: int = 1, seed: int = 0, group: int = 0
) -> TransformContext:
    names = tuple(ids(len(images)))
    return TransformContext(divisor, StepRandom(seed, group, step, names), images, names)


def only(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Any subset of these fields."""
    return st.fixed_dictionaries({}, optional=fields)


def number(low: float, high: float) -> st.SearchStrategy[float]:
    """Sixteenths in [low, high]."""
    return st.integers(math.ceil(low * 16), math.floor(high * 16)).map(lambda n: n / 16)


SCALING = only(
    low=number(0.3, 1.25),
    width=number(0, 0.75),
    law=st.sampled_from(["uniform", "log-uniform", "discrete"]),
    levels=st.integers(2, 5),
    scales=st.integers(1, 2),
    probability=number(0, 1),
    anisotropy=number(0, 1),
    antialias=st.booleans(),
    handling=st.sampled_from(["whole", "native", "back"]),
    grid=st.sampled_from([0, 0.0625]),
    schedule=st.sampled_from(["random", "low-discrepancy"]),
)
DIVERSITY = only(low=number(0.5, 1), high=number(1, 1.5), probability=number(0, 1))
RULE = st.one_of(
    *(
        st.integers(1, 2).map(lambda n, kind=kind: {kind: {"samples": n}})  # type: ignore[misc]
        for kind in ("gra", "pgn", "mef")
    ),
    st.integers(2, 3).map(lambda n: {"emi": {"samples": n}}),
    st.builds(lambda n, late: {"rap": {"inner": n, "late": late}}, st.integers(1, 2), number(0, 1)),
    st.integers(0, 3).map(lambda n: {"mumodig": {"copies": n}}),
    st.just({"anda": {"side": 2}}),
)
TRANSFORM = st.one_of(
    SCALING.map(lambda fields: {"ds": fields}),
    DIVERSITY.map(lambda fields: {"di": fields}),
    DIVERSITY.map(lambda fields: {"rdi": fields}),
    st.integers(1, 3).map(lambda copies: {"si": {"copies": copies}}),
    number(0, 1).map(lambda probability: {"flip": {"probability": probability}}),
    number(0.0625, 1).map(lambda reach: {"shift": {"reach": reach}}),
    st.builds(
        lambda kind, copies, blocks: {kind: {"copies": copies, "blocks": blocks}},
        st.sampled_from(["sia", "bsr"]),
        st.integers(1, 2),
        st.integers(1, 4),
    ),
    st.integers(1, 2).map(lambda masks: {"us-mm": {"scales": 2, "masks": masks}}),
    st.builds(
        lambda copies, strength: {"admix": {"copies": copies, "strength": strength}},
        st.integers(1, 2),
        number(0, 1),
    ),
    st.builds(
        lambda copies, sigma, rho, gradient: {
            "ssa": {"copies": copies, "sigma": sigma, "rho": rho, "gradient": gradient}
        },
        st.integers(1, 2),
        number(0, 0.5),
        number(0, 1),
        st.sampled_from(["through", "at"]),
    ),
)
UNMOVED = ("si", "admix", "ssa")
CLASS = st.integers(0, 2)
TARGET = st.one_of(
    st.builds(lambda k: {"every": k}, CLASS),
    st.builds(
        lambda classes, others: {"classes": classes, "others": others},
        st.dictionaries(CLASS, CLASS, min_size=1, max_size=3),
        st.sampled_from(["keep", "ignore"]),
    ),
)
BOX = st.sampled_from([[0, 0, 0.5, 1], [0.25, 0.25, 1, 0.75], [0, 0, 1, 1]])
REGION = st.one_of(
    st.builds(lambda classes: {"classes": classes}, st.lists(CLASS, min_size=1, max_size=2)),
    st.builds(lambda box: {"box": box}, BOX),
    st.builds(lambda k, box: {"classes": [k], "box": box}, CLASS, BOX),
)
LABEL_LOSSES = ["cross-entropy", "masked-cross-entropy", "segpgd", "cospgd", "js", "mask-norm"]
LABEL_LOSSES += ["tsallis", "uncertainty", "cosine"]
FORMS = ["raw", "eps*sign", "equal-rms", "equal-rms@0.5", "equal-rms@1.5", "smooth"]
FEATURE_LOSSES = ["fspgd", "dr", "fia", "naa", "ila"]


@st.composite
def attacks(draw: st.DrawFn) -> dict[str, Any]:
    """The fields of an attack on ``toys.staged``, every seam of the loop among them."""
    fields: dict[str, Any] = {
        "name": "any",
        "norm": draw(st.sampled_from(["linf", "l2"])),
        "eps": draw(st.sampled_from([0, "1/255", 0.03, "8/255", 0.25])),
        "step_size": draw(st.sampled_from([0, "eps/4", "eps", 0.02, 0.5])),
        "start": draw(st.sampled_from(["clean", "uniform"])),
        "transforms": draw(st.lists(TRANSFORM, max_size=2, unique_by=lambda t: next(iter(t)))),
        "label_version": draw(st.sampled_from(["logits", "labels"])),
        "loss": draw(st.sampled_from([*LABEL_LOSSES, "rp-region", *FEATURE_LOSSES])),
        "momentum": draw(st.none() | only(mu=number(0, 2), nesterov=st.booleans())),
        "variance": draw(st.none() | st.builds(lambda n: {"neighbours": n}, st.integers(1, 2))),
        "smoothing": draw(st.sampled_from([None, None, "ti", {"kernel": 3, "sigmas": 1}])),
        "region": draw(st.none() | REGION),
        "scores": draw(st.lists(st.sampled_from(FORMS), min_size=1, max_size=3, unique=True)),
        "equal_rms": draw(number(0.125, 1)),
    }
    if "smooth" in fields["scores"]:
        fields["region"] = None
    if fields["variance"] is None:
        fields["gradient"] = draw(st.none() | RULE)
    # Images of the shard are at native size and in place, so they come before what moves pixels.
    fields["transforms"].sort(key=lambda transform: not {"admix", "us-mm"} & set(transform))
    if fields["loss"] in ("fia", "naa", "ila"):  # their weights have a place in the image
        fields["transforms"] = [t for t in fields["transforms"] if next(iter(t)) in UNMOVED]
        if {"anda", "mumodig"} & set(fields.get("gradient") or ()):
            del fields["gradient"]
    if fields["loss"] == "rp-region":
        fields["label_version"] = "logits"
    if fields["loss"] in FEATURE_LOSSES:
        fields["layer"] = draw(st.sampled_from(["backbone", "head"]))
    else:
        fields["target"] = draw(st.none() | TARGET)
    if fields["start"] == "uniform" or any("si" not in t for t in fields["transforms"]):
        fields["restarts"] = draw(st.sampled_from([1, 1, 2]))
    length = draw(st.sampled_from(["steps", "steps", "steps_at", "budget"]))
    if length == "budget":
        cost, restarts = AttackSpec.model_validate(fields | {"steps": 1}), fields.get("restarts", 1)
        share = cost.step_cost * draw(number(1, 2.5)) + (restarts > 1)
        fields["budget"] = {"forward_equivalents": restarts * share}
    else:
        parts = ("transforms", "gradient", "momentum", "variance", "smoothing", "target", "layer")
        noise = fields["start"] == "uniform" and all(
            fields.get(part) in (None, []) for part in parts
        )
        fields["steps"] = draw(st.integers(0 if noise else 1, 3))
        if length == "steps_at" and fields["steps"]:
            kept = st.sets(st.integers(1, fields["steps"]), min_size=1)
            fields["steps_at"] = sorted(draw(kept))
    return fields


def distance(adversarial: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """Largest change of each image, in 8-bit levels."""
    return np.abs(adversarial.astype(int) - clean).max((-3, -2, -1))
