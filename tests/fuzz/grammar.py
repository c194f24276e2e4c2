"""Inputs of users, drawn from their grammar: valid ones, and ones with a few mistakes."""

import copy
import json
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from segtransfer.tasks.yaml_files import dump
from tests.orchestrator.toy_experiments import CLASSES, toy
from tests.tasks.attacks.specs import attacks as attack_fields

Keys = tuple[Any, ...]

# Values that are of another kind than they look like, at an end of a range, or in no range.
ODD: list[Any] = [
    True, False, None, 0, -1, 1, 8, 255, 2**63, 10**400, 0.5, 1.5, -0.0, 1e308, 5e-324,
    float("inf"), float("nan"), "", " ", ".", "..", "~", "/", "010", "1:30", "1e3", "8/255", "8/0",
    "yes", "null", "0", "\0", "a\nb", "a" * 5000, "☃", "../x", "[", "(", "s3://", "::", "x:y",
    [], [[]], {}, {"a": 1}, ["a", "a"], [0.5, 0.25],
]  # fmt: skip
NAMES = st.text("abcXYZ019_.-", min_size=1, max_size=6).filter(lambda name: name.strip("."))
WORDS = st.text("abc é0.:-#'\"{}[],&*!|>%@", min_size=1, max_size=6).filter(str.strip)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS
    | st.sampled_from(["010", "1:30", "1e3", "yes", "2024-01-01", "0x1f", "~", "1_0", "", "8/255"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=4,
)


def paths(content: Any, at: Keys = ()) -> list[Keys]:
    """Return the path of every value in nested mappings and lists, but for the whole."""
    below = (
        content.items() if isinstance(content, dict)
        else enumerate(content) if isinstance(content, list) else ()
    )  # fmt: skip
    return [path for key, inner in below for path in [(*at, key), *paths(inner, (*at, key))]]


def mistaken(draw: st.DrawFn, content: Any) -> Any:
    """Return the content with a mistake: a value replaced, left out, wrapped, repeated, or new."""
    known = paths(content)
    if not known:
        return draw(st.sampled_from(ODD))
    content, (*outer, last) = copy.deepcopy(content), draw(st.sampled_from(known))
    node = content
    for key in outer:
        node = node[key]
    kind = draw(st.sampled_from(["odd", "odd", "odd", "plain", "none", "list", "again", "new"]))
    if kind == "none":
        del node[last]
    elif kind == "list":
        node[last] = [node[last]]
    elif kind == "again" and isinstance(node, list):
        node.append(node[last])
    elif kind == "new" and isinstance(node, dict):
        node[draw(NAMES)] = draw(st.sampled_from(ODD))
    elif kind == "plain":
        node[last] = draw(PLAIN)
    else:
        node[last] = draw(st.sampled_from(ODD))
    return content


def sometimes_mistaken(valid: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return the content as it is, or with one to three mistakes."""

    @st.composite
    def strategy(draw: st.DrawFn) -> Any:
        content = draw(valid)
        for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 2, 3]))):
            content = mistaken(draw, content)
        return content

    return strategy()


@st.composite
def searches(draw: st.DrawFn, valid: dict[str, Any]) -> dict[str, Any]:
    """Draw a valid search: another one with other numbers, names and objectives."""
    settings = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "trials": st.integers(1, 100_000),
                "concurrency": st.integers(1, 1000),
                "objectives": st.sampled_from([["transfer"], ["transfer", "rms"]]),
                "rungs": st.sampled_from([[1], [0.5, 1.0], [0.25, 0.5, 1.0]]),
                "reduction": st.integers(2, 10),
                "startup": st.integers(1, 50),
            },
        )
    )
    changes = {"name": NAMES, "seed": st.integers(0, 2**31)}
    return {
        **valid,
        **draw(st.fixed_dictionaries({}, optional=changes)),
        "search": {**valid["search"], **settings},
    }


@st.composite
def specs(draw: st.DrawFn, data: Path) -> dict[str, Any]:
    """Draw an experiment of toys on the images of a folder."""
    chosen = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "images": st.integers(1, 4),
                "size": st.sampled_from([[16, 24], [32, 16]]),
                "fit": st.sampled_from(["resize", "crop", "pad"]),
                "sequence": st.sampled_from(["^([^-]+)-", "(.)$"]),
                "label_map": st.just({"road": "road", "sky": "sky", "tree": None}),
            },
        )
    )
    names = draw(st.lists(NAMES, min_size=1, max_size=2, unique=True))
    noted: list[dict[str, Any]] = [draw(st.dictionaries(st.just("note"), PLAIN)) for _ in names]
    models = [
        toy(name, "noted", seed=draw(st.integers(0, 9)), **note)
        for name, note in zip(names, noted, strict=True)
    ]
    place: dict[str, Any] = {"folder": str(data), "classes": CLASSES, **chosen}
    if draw(st.sampled_from([False, False, True])):
        models = draw(st.sampled_from([["fcn-r18"], [{"zoo": "fcn-r18", "name": "z"}]]))
        place = {"sample": "camvid", "images": 1}
    made = draw(st.lists(attack_fields() | st.sampled_from(["pgd", "noise", "ds-mi"]), max_size=2))
    attacks = [
        {"preset": one, "name": f"a{number}"}
        if isinstance(one, str)
        else one | {"name": f"a{number}"}
        for number, one in enumerate([*made, "pgd"])
    ]
    return {
        "data": place,
        "models": models,
        "attacks": attacks,
        **draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "name": NAMES,
                    "seed": st.integers(0, 2**63 - 1),
                    "schedule_groups": st.integers(1, 4096),
                    "shard_size": st.integers(1, 4096),
                    "numerics": st.sampled_from(["fast", "reference", {"fold": "auto"}]),
                },
            )
        ),
        "runtime": {
            "executor": "inline",
            "tracking": False,
            **draw(
                st.fixed_dictionaries(
                    {},
                    optional={
                        "window": st.integers(1, 64),
                        "least_deadline": st.floats(0.5, 1e6) | st.integers(1, 9),
                        "max_hours": st.sampled_from([None, 1, 0.5]),
                        "in_flight_mib": st.sampled_from(["auto", 7]),
                        "fleet": st.just({"slots": 2}),
                    },
                )
            ),
        },
    }


# Overrides of ``good()`` with values that fit, and values that may fit elsewhere.
FITTING = {
    "seed": ["1", "010", "0x1f"],
    "shard_size": ["2"],
    "name": ["mine", "a.b"],
    "data": ["camvid", "{sample: camvid}"],
    "data.images": ["1", "2"],
    "data.size": ["[16, 24]"],
    "models": ["[fcn-r18]", "[pspnet-r18, fcn-r18]"],
    "models.0.name": ["mine"],
    "models.*.backbone": ["one"],
    "sources": ["[fcn-r18]"],
    "numerics": ["fast", "{bf16: auto}"],
    "attacks": ["[pgd]", "[{preset: mi, eps: 1e-2}]"],
    "attacks.*.eps": ["4/255", "1e-2", ".5"],
    "attacks.0.steps": ["3"],
    "attacks.0.transforms": ["[ds]", "[{ds: {low: 0.75}}]"],
    "attacks.0.momentum.mu": ["1", "0.5"],
    "attacks.0.target.every": ["1"],
    "runtime.window": ["1"],
    "runtime.store": ["mine", "s3://bucket/x"],
    "runtime.fleet.slots": ["auto", "2"],
}
MISFITS = [
    "0", "-1", "true", "~", "1:30", "8", "auto", "[a", "{a: 1, a: 2}", "", ".inf", "'3'", "&a [*a]",
    "..", "[fcn-r18, fcn-r18]", "1e3", "yes", "!!python/name:os.system", "9" * 5000, "*", 
]  # fmt: skip
NOWHERE = [
    "attacks.9.eps",
    "sed",
    "seed.deep",
    "",
    "*",
    ".",
    "attacks.0.files",
    "a.*.b",
    "models.x",
]


@st.composite
def overrides(draw: st.DrawFn) -> list[str]:
    """Draw up to three overrides, most with a value that fits its field."""
    made = []
    for _ in range(draw(st.integers(0, 3))):
        path = draw(st.sampled_from(list(FITTING)))
        value = draw(st.sampled_from(FITTING[path]))
        if not draw(st.integers(0, 3)):
            value = draw(st.sampled_from(MISFITS))
        if not draw(st.integers(0, 9)):
            path = draw(st.sampled_from(NOWHERE))
        made.append(f"{path}={value}")
    return made


DATASETS = st.fixed_dictionaries(
    {"classes": st.just(CLASSES)},
    optional={
        "palette": st.just([[0, 0, 0], [9, 9, 9], [255, 0, 255]]),
        "sequence": st.sampled_from(["^([^-]+)-", "(.)$"]),
    },
)


def metas(classes: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Draw the meta of a checkpoint of a model with these classes."""
    palette = [[number, 0, 0] for number in range(len(classes))]
    return st.fixed_dictionaries(
        {},
        optional={
            "dataset_meta": st.just({"classes": classes, "palette": palette}),
            "CLASSES": st.just(classes),
            "PALETTE": st.just(palette),
            "cfg": st.sampled_from(["", "model = dict(type='EncoderDecoder')", "import os"]),
            "epoch": st.integers(0, 9),
            "seed": st.none() | st.integers(0, 9),
            "mmseg_version": st.just("1.2.2+abc"),
        },
    )


@st.composite
def written(draw: st.DrawFn, content: Any) -> str:
    """Draw a text of the content: JSON, which is YAML, YAML, or YAML with a character changed."""
    form = draw(st.sampled_from(["json", "yaml", "yaml", "torn"]))
    text = json.dumps(content) if form == "json" and is_json(content) else dump(content)
    if form == "torn":
        place = draw(st.integers(0, len(text) - 1))
        text = text[:place] + draw(st.sampled_from("\t:{}[]&*!|>'\"#\n- \0%")) + text[place + 1 :]
    return text


def is_json(content: Any) -> bool:
    """Tell whether the content has only numbers that JSON can write."""
    try:
        json.dumps(content, allow_nan=False)
    except ValueError:
        return False
    return True
