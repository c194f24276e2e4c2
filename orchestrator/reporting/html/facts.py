"""What the page says in words: what was run, what came out, from what, and what is missing."""

import base64
import hashlib
import io
import json
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from segtransfer.experiment.provenance import code_hash, commit, versions
from segtransfer.reporting.html.numbers import Figures
from segtransfer.reporting.html.tables import Compared, main_attacks
from segtransfer.results import PAIR_GROUPS, Results
from segtransfer.results.text import HEADLINES
from segtransfer.tasks.urls import without_credentials


@dataclass(frozen=True)
class Model:
    name: str
    backbone: str
    role: str
    fingerprint: str


@dataclass(frozen=True)
class Download:
    """A file inside the page, as a data URI."""

    name: str
    what: str
    uri: str
    bytes: int


def what_was_run(results: Results) -> str:
    """The experiment in a sentence."""
    content = results.content
    eps = sorted({attack["eps"] for attack in content["spec"]["attacks"]})
    sources, targets = set(results.sources), set(results.targets)
    scored = "the same models" if sources == targets else _count(len(targets), "target model")
    return (
        f"{_count(len(content['spec']['attacks']), 'attack')} at eps "
        f"{', '.join(f'{255 * e:g}/255' for e in eps)} made adversarial examples (AEs) of "
        f"{_count(len(results.image_ids), 'image')} of {content['dataset']} on "
        f"{_count(len(sources), 'source model')}; the very same 8-bit images were scored on "
        f"{scored}, {len(results.classes)} classes."
    )


def findings(
    results: Results,
    compared: Sequence[Compared],
    figures: Mapping[str, Sequence[Figures | None]],
    group: str,
    baseline: str | None,
) -> list[str]:
    """What came out for transfer, in sentences: mean mIoU over the pairs of one headline group.

    Of main attacks only: the others are the same perturbations at other steps or energies.
    """
    miou, place, main = figures["miou"], PAIR_GROUPS.index(group), main_attacks(results)
    known = [
        (mean, number, row)
        for row in compared
        if row.attack in main
        and (number := row.means[place]) is not None
        and (mean := miou[number]) is not None
    ]
    made = [entry for entry in known if entry[2].sourced]
    if not made:
        return []
    value, number, best = min(made, key=lambda entry: entry[0][0])
    drop = estimate(figures["drop"][number])
    pairs = HEADLINES[group].removesuffix(" (diagonal)")
    found = [
        f"On {pairs} pairs, {best.attack} leaves the least mean mIoU: {estimate(value)} percent, "
        f"a drop of {drop} points (95 % intervals)."
    ]
    difference = None if best.difference is None else miou[best.difference]
    if difference is not None:
        verdict = "beyond noise" if difference[3] else "within noise"
        found.append(f"Against {baseline} that is {estimate(difference, signed=True)}, {verdict}.")
    floor = [(mean, row) for mean, _, row in known if not row.sourced]
    found += [f"Without any model, {row.attack} leaves {estimate(m)}." for m, row in floor[:1]]
    return found


def estimate(figures: Figures | None, signed: bool = False) -> str:
    """A value with its interval in words; a dash where there is none."""
    if figures is None:
        return "–"
    value, low, high, _ = figures
    text = decimal(value, signed)
    if low is None or high is None:
        return text
    return f"{text} ({decimal(low, signed)} to {decimal(high, signed)})"


def decimal(value: float, signed: bool = False) -> str:
    """One decimal and a real minus sign."""
    return f"{value:{'+' if signed else ''}.1f}".replace("-", "−")


def aloud(figures: Figures | None) -> str:
    """What a screen reader says after a value: its interval."""
    if figures is None or figures[1] is None or figures[2] is None:
        return ""
    return f", 95 % interval {decimal(figures[1])} to {decimal(figures[2])}"


def plain(value: float, name: str) -> str:
    """A statistic of the perturbation, or a cost, with as many digits as say something."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞"
    digits = {"rms": 2, "mean_abs": 2, "at_bound": 0, "seconds": 0}.get(name, 1)
    return f"{value:,.{digits}f}"


def trouble(results: Results) -> list[tuple[str, str]]:
    """Why results are missing: the last line of each kind of failure with its count, and all of it.

    Failures of other runs count while their results are still missing.
    """
    messages = dict(results.failures)
    for *_, key, attack_key in results.content["cells"]:
        if key in results.missing:
            for name in (key, attack_key):
                if name is not None and name not in messages:
                    failure = results.store.failure(name)
                    if failure is not None:
                        messages[name] = failure["message"]
    kinds: dict[str, list[str]] = {}
    for message in messages.values():
        kinds.setdefault(message.strip().splitlines()[-1], []).append(message)
    return [(f"{len(same)} × {last}", same[0]) for last, same in kinds.items()]


def configuration(results: Results) -> str:
    """The resolved spec as YAML; running it again computes nothing."""
    return yaml.safe_dump(dict(results.content["spec"]), sort_keys=False, allow_unicode=True)


def costs(results: Results) -> list[tuple[str, dict[str, float]]]:
    """What each attack of the spec took, over all sources and images."""
    return [(name, results.cost(name).to_dict()) for name in main_attacks(results)]


def models(results: Results) -> list[Model]:
    def role(name: str) -> str:
        roles = ["source"] * (name in results.sources) + ["target"] * (name in results.targets)
        return " and ".join(roles) or "member of an ensemble"

    return [
        Model(name, info["backbone"], role(name), info["fingerprint"])
        for name, info in results.content["models"].items()
    ]


def provenance(results: Results) -> list[tuple[str, str]]:
    """What made the results, and from what."""
    content = results.content
    found = [
        ("Experiment key", results.identity),
        ("Results digest", results.digest),
        ("Data hash", hashlib.sha256("".join(content["shards"]).encode()).hexdigest()),
        ("Code of this page", code_hash()),
        ("Seed", str(content["spec"]["seed"])),
        ("Numerics", json.dumps(content["spec"]["numerics"])),
        ("Store", results.store.location),
    ]
    if sha := commit():
        found.append(("Commit", sha))
    return found + [(f"{name}", version) for name, version in versions().items()]


def command() -> str:
    """The command that wrote this page; empty where another program did."""
    name = Path(sys.argv[0]).name
    line = shlex.join([name, *sys.argv[1:]])
    return without_credentials(line) if name == "segtransfer" else ""


def downloads(results: Results) -> list[Download]:
    """The cells as Parquet and CSV, and the resolved spec."""
    frame, parquet = results.frame(), io.BytesIO()
    frame.to_parquet(parquet, index=False)
    csv = frame.to_csv(index=False, float_format="%.4f").encode()
    spec = configuration(results).encode()
    kind = "application/vnd.apache.parquet"
    return [
        _download("results.parquet", "all cells, exact", kind, parquet.getvalue()),
        _download("results.csv", "all cells, four decimals", "text/csv", csv),
        _download("experiment.yaml", "the resolved spec", "application/yaml", spec),
    ]


def _download(name: str, what: str, kind: str, content: bytes) -> Download:
    uri = f"data:{kind};base64,{base64.b64encode(content).decode()}"
    return Download(name, what, uri, len(content))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
