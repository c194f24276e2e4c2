"""Facts on the page: set-up, findings, failures and origin, in words."""

import base64
import hashlib
import io
import json
import math
from dataclasses import dataclass

from segtransfer.errors import reason_of
from segtransfer.experiment.provenance import code_hash, commit, versions
from segtransfer.reporting.html.analysis import Analysis
from segtransfer.reporting.html.estimates import RoundedInterval
from segtransfer.results import Results
from segtransfer.results.text import HEADLINES, NOT_MEASURED
from segtransfer.statistics import NO_VERDICT
from segtransfer.tasks.schema import strength_text
from segtransfer.tasks.yaml_files import dump

MOST_CSV = 1_000_000  # bytes in the page; the report's folder has every cell as CSV


@dataclass(frozen=True)
class ModelView:
    """A row of the table of models; the role is source, target, or both."""

    name: str
    backbone: str
    role: str
    fingerprint: str


@dataclass(frozen=True)
class Download:
    """A file in the page, as a data URI.

    Attributes:
        name: The file name.
        about: The content, in a few words.
        uri: The file as a data URI.
        bytes: The size of the file.
    """

    name: str
    about: str
    uri: str
    bytes: int


def what_was_run(results: Results) -> str:
    """Return a sentence about the experiment's attacks, images and models."""
    eps = sorted({attack.eps for attack in results.manifest.settings.attacks})
    sources, targets = set(results.sources), set(results.targets)
    scored = "the same models" if sources == targets else _count(len(targets), "target model")
    return (
        f"{_count(len(results.manifest.settings.attacks), 'attack')} at eps "
        f"{', '.join(map(strength_text, eps))} made adversarial examples (AEs) of "
        f"{_count(len(results.image_ids), 'image')} of {results.manifest.dataset} on "
        f"{_count(len(sources), 'source model')}. The same 8-bit images were scored on "
        f"{scored}, with {len(results.classes)} classes."
    )


def findings(results: Results, analysis: Analysis) -> list[str]:
    """Return sentences about transfer: the headline metric's mean over the transfer group.

    Only main attacks count: other iterates are the same perturbations at other steps or energies.

    Args:
        results: The experiment.
        analysis: Its analysis.

    Returns:
        Up to three sentences: the strongest attack, its difference to the baseline, the floor of
        noise. None without a measured mean.
    """
    headline = analysis.intervals[results.headline]
    known = [
        (mean, number, row)
        for row in analysis.summaries
        if row.view.attack in analysis.main_attacks
        and (number := row.means[analysis.group]) is not None
        and (mean := headline[number]) is not None
    ]
    made = [entry for entry in known if entry[2].view.sourced]
    if not made:
        return []
    value, number, best = min(made, key=lambda entry: entry[0][0])
    drop = interval_text(analysis.intervals["drop"][number])
    pairs = HEADLINES[analysis.group].removesuffix(" (diagonal)")
    tied = [attack for attack in analysis.least if attack != best.view.attack]
    lowest = f"has the lowest mean {results.quality}"
    claim = f"{lowest}, within noise of {' and '.join(tied)}" if tied else lowest
    sentences = [
        f"On {pairs} pairs, {best.view.attack} {claim}: "
        f"{interval_text(value)} percent, a drop of {drop} points (95 % intervals)."
    ]
    difference = None if best.difference is None else headline[best.difference]
    if difference is not None:
        verdict = "beyond noise" if difference[3] else "within noise"
        if any(warning.kind == "one schedule group" for warning in results.warnings):
            verdict = NO_VERDICT
        gain = interval_text(difference, signed=True)
        sentences.append(f"The difference to {analysis.baseline} is {gain} points, {verdict}.")
    floor = [(mean, row) for mean, _, row in known if not row.view.sourced]
    sentences += [
        f"On the same pairs {row.view.attack}, made without a model, has {interval_text(mean)}."
        for mean, row in floor[:1]
    ]
    return sentences


def interval_text(interval: RoundedInterval | None, signed: bool = False) -> str:
    """Return a value with its interval in words, or "not measured".

    Args:
        interval: The interval; None for a missing value.
        signed: Whether positive numbers get a plus sign.

    Returns:
        For example ``39.1 (34.4 to 43.7)``; without bounds the value alone.
    """
    if interval is None:
        return NOT_MEASURED
    value, low, high, _ = interval
    text = decimal(value, signed)
    if low is None or high is None:
        return text
    return f"{text} ({decimal(low, signed)} to {decimal(high, signed)})"


def decimal(value: float, signed: bool = False) -> str:
    """Return a number with one decimal and a typographic minus sign.

    Args:
        value: The number.
        signed: Whether a number without a minus sign, 0 too, gets a plus sign.
    """
    return f"{value:{'+' if signed else ''}.1f}".replace("-", "−")


def spoken_interval(interval: RoundedInterval | None) -> str:
    """Return the interval as a screen reader speaks it after the value; empty without bounds."""
    if interval is None or interval[1] is None or interval[2] is None:
        return ""
    return f", 95 % interval {decimal(interval[1])} to {decimal(interval[2])}"


def fixed_text(value: float, name: str) -> str:
    """Return a value of a fixed column with the digits of its column.

    Args:
        value: The number; NaN is a dash.
        name: The name of the column, which sets the decimals.
    """
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞"
    digits = {"rms": 2, "mean_abs": 2, "at_bound": 0, "reached": 0, "seconds": 0, "ssim": 3}
    return f"{value:,.{digits.get(name, 1)}f}"


def failure_messages(results: Results) -> list[tuple[str, str]]:
    """Return the causes of missing results, including stored failures of other runs.

    Returns:
        Per kind of failure, its count and last line, and the whole message.
    """
    messages = dict(results.failures)
    for cell in results.manifest.cells:
        if cell.key in results.missing:
            for name in (cell.key, cell.attack_key):
                if name is not None and name not in messages:
                    failure = results.store.failure(name)
                    if failure is not None:
                        messages[name] = failure["message"]
    kinds: dict[str, list[str]] = {}
    for message in messages.values():
        kinds.setdefault(reason_of(message), []).append(message)
    return [(f"{len(same)} × {last}", same[0]) for last, same in kinds.items()]


def configuration(results: Results) -> str:
    """Return the resolved spec as YAML."""
    return dump(results.manifest.spec)


def models(results: Results) -> list[ModelView]:
    """Return the experiment's models with backbone, role and fingerprint.

    Returns:
        A row per model of the manifest, members of ensembles included.
    """

    def role(name: str) -> str:
        roles = ["source"] * (name in results.sources) + ["target"] * (name in results.targets)
        return " and ".join(roles) or "member of an ensemble"

    return [
        ModelView(name, info.backbone, role(name), info.fingerprint)
        for name, info in results.manifest.models.items()
    ]


def setting(results: Results) -> list[tuple[str, str]]:
    """Return name and value of the seed, the numerics and the store."""
    return [
        ("Seed", str(results.manifest.settings.seed)),
        ("Numerics", json.dumps(results.manifest.spec["numerics"])),
        ("Store", results.store.location),
    ]


def provenance(results: Results) -> list[tuple[str, str]]:
    """Return name and value of the hashes and versions behind the results, in a fixed order.

    Experiment, digest, data, seed, numerics and store are of the results; the code of the page, the
    commit and the versions are of this process.
    """
    manifest = results.manifest
    origin = [
        ("Experiment key", results.identity),
        ("Results digest", results.digest),
        ("Data hash", hashlib.sha256("".join(manifest.shards).encode()).hexdigest()),
        ("Code of this page", code_hash()),
    ]
    if sha := commit():
        origin.append(("Commit", sha))
    return [*origin, *versions().items()]


def downloads(results: Results) -> list[Download]:
    """Return the cells as Parquet and CSV, and the resolved spec.

    Returns:
        Files as data URIs: ``results.parquet`` (exact), ``results.csv`` (four decimals, up to
        ``MOST_CSV`` bytes), ``experiment.yaml``.
    """
    frame, parquet = results.frame(), io.BytesIO()
    frame.to_parquet(parquet, index=False)
    csv = frame.to_csv(index=False, float_format="%.4f").encode()
    spec = configuration(results).encode()
    kind = "application/vnd.apache.parquet"
    text = [_download("results.csv", "all cells, four decimals", "text/csv", csv)]
    return [
        _download("results.parquet", "all cells, exact", kind, parquet.getvalue()),
        *(text if len(csv) <= MOST_CSV else []),
        _download("experiment.yaml", "the resolved spec", "application/yaml", spec),
    ]


def _download(name: str, about: str, kind: str, content: bytes) -> Download:
    uri = f"data:{kind};base64,{base64.b64encode(content).decode()}"
    return Download(name, about, uri, len(content))


def _count(number: int, noun: str, plural: str = "") -> str:
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
