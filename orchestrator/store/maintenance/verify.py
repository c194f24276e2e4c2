"""Verify: read every file of a store, and report each file with a problem."""

import hashlib
import json
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Literal

from segtransfer.store import CommitRow, Store, arrays
from segtransfer.store.files import PARTIAL, FileInfo
from segtransfer.store.maintenance.gc import GRACE_SECONDS
from segtransfer.store.maintenance.reading import in_threads, read_rows
from segtransfer.store.rows import BLOB_PATH, COMPACTED_PATH, ROW_PATH
from segtransfer.store.store import SHARD_PATH
from segtransfer.tasks.data.shards import Shard

Anomaly = Literal["damaged", "orphaned", "foreign", "partial"]
_OTHER_FOLDERS = ("calibration/", "experiments/", "failures/", "reports/", "searches/")
_NOT_DONE = "the task counts as not done: run the experiment again"


@dataclass(frozen=True)
class Finding:
    """A file with a problem, and a sentence on the problem and its cure."""

    kind: Anomaly
    path: str
    sentence: str


@dataclass(frozen=True)
class VerifyReport:
    """The numbers of files read, and the findings."""

    rows: int
    blobs: int
    shards: int
    experiments: int
    nbytes: int
    findings: tuple[Finding, ...]

    @property
    def sound(self) -> bool:
        """Whether no file is damaged."""
        return not any(finding.kind == "damaged" for finding in self.findings)


@dataclass(frozen=True)
class _ExpectedImages:
    """The ids and the size of a shard's images, which each blob of the shard must have."""

    image_ids: tuple[str, ...]
    height: int
    width: int


def verify(store: Store) -> VerifyReport:
    """Read every file of a store and check rows, hashes, arrays and shapes; change nothing."""
    # Listed first, so that a blob that is committed meanwhile is named by a row read later.
    infos = store.files.infos("")
    index = read_rows(store)
    findings = [_unreadable(path, count) for path, count in index.unreadable.items()]
    expected: dict[str, _ExpectedImages] = {}
    shards = [match[2] for info in infos if (match := SHARD_PATH.fullmatch(info.path))]
    contents = in_threads(lambda shard_id: _expected(store.shard(shard_id)), shards)
    for shard_id, images in zip(shards, contents, strict=True):
        if images is None:
            path = f"shards/{shard_id[:2]}/{shard_id}.arrow"
            sentence = "its images or labels are torn or altered: run an experiment on its data"
            findings.append(Finding("damaged", path, f"{sentence} again"))
        else:
            expected[shard_id] = images
    named: dict[str, list[CommitRow]] = defaultdict(list)
    for row in index.rows.values():
        named[row.blob].append(row)
    for of_blob in in_threads(lambda rows: _check_blob(store, rows, expected), named.values()):
        findings.extend(of_blob)
    names = [info.path for info in infos if info.path.startswith("experiments/")]
    experiments = [name for name in names if name.endswith(".json")]
    findings += [f for name in experiments if (f := _check_experiment(store, name))]
    findings += [f for info in infos if (f := _check_place(info, named))]
    return VerifyReport(
        rows=len(index.rows),
        blobs=len(named),
        shards=len(shards),
        experiments=len(experiments),
        nbytes=sum(info.nbytes for info in infos),
        findings=tuple(sorted(findings, key=lambda finding: (finding.kind, finding.path))),
    )


def _unreadable(path: str, count: int) -> Finding:
    if ROW_PATH.fullmatch(path):
        return Finding("damaged", path, f"this row is torn or altered; {_NOT_DONE}")
    rows = f"{count} of its rows are" if count else "this file of compacted rows is"
    return Finding("damaged", path, f"{rows} torn or altered; their tasks count as not done: run "
                                    "the experiments again")  # fmt: skip


def _expected(shard: Shard | None) -> _ExpectedImages | None:
    return None if shard is None else _ExpectedImages(shard.image_ids, *shard.images.shape[2:])


def _check_blob(
    store: Store, rows: list[CommitRow], expected: dict[str, _ExpectedImages]
) -> list[Finding]:
    """Check a blob against its hash, and against each row that names the blob."""
    content = store.files.read(rows[0].blob)
    key = rows[0].key
    if content is None:
        return [
            Finding("damaged", rows[0].blob, f"row {key} names it, and it is gone; {_NOT_DONE}")
        ]
    if hashlib.sha256(content).hexdigest() != rows[0].sha256:
        sentence = f"its {len(content):,} bytes have another hash than row {key} says; {_NOT_DONE}"
        return [Finding("damaged", rows[0].blob, sentence)]
    wrong = ((row, _wrong_arrays(row, content, expected.get(row.shard or ""))) for row in rows)
    return [
        Finding(
            "damaged",
            row.blob,
            f"{reason}, though its hash is right (row {row.key}): it was "
            "written wrong; please report this",
        )
        for row, reason in wrong
        if reason
    ]


def _wrong_arrays(row: CommitRow, content: bytes, expected: _ExpectedImages | None) -> str | None:
    """Return the reason why a blob's arrays do not fit its row, or None if they do."""
    try:
        if row.kind == "attack":
            ids, images = arrays.decode_images(content)
            counts, shape = {len(ids), images.shape[1]}, images.shape[-2:]
        else:
            scores = arrays.decode_evaluation(content)
            ids, shape = scores.image_ids, scores.predictions.shape[-2:]
            counts = {len(ids), len(scores.confusions), len(scores.predictions)}
            if len(set(scores.confusions.shape[1:])) != 1:
                return f"its confusions are {scores.confusions.shape}, not N x K x K"
    except Exception as error:  # what does not decode breaks Arrow's readers in many ways
        return f"it does not decode ({type(error).__name__})"
    if len(counts) != 1:
        return "it holds different numbers of ids and arrays"
    if expected is None:
        return None
    if (ids, shape) != (expected.image_ids, (expected.height, expected.width)):
        return "its images are not those of its shard"
    return None


def _check_experiment(store: Store, path: str) -> Finding | None:
    try:
        if isinstance(json.loads(store.files.read(path) or b""), dict):
            return None
    except ValueError:
        pass
    return Finding("damaged", path, "this is no whole JSON: run its experiment again")


def _check_place(info: FileInfo, named: dict[str, list[CommitRow]]) -> Finding | None:
    """Report a blob that no row names, a file of another program, or an unfinished write."""
    recent = time.time() - info.mtime_ns / 1e9 < GRACE_SECONDS
    if info.path.rsplit("/", 1)[-1].startswith(PARTIAL):
        sentence = "a write that goes on" if recent else "a write that was cut off: gc removes it"
        return Finding("partial", info.path, sentence)
    if BLOB_PATH.fullmatch(info.path):
        if info.path in named:
            return None
        sentence = "no row names it"
        sentence += ", which may be yet to come" if recent else ": gc removes it"
        return Finding("orphaned", info.path, sentence)
    known = ROW_PATH, COMPACTED_PATH, SHARD_PATH
    if any(pattern.fullmatch(info.path) for pattern in known):
        return None
    if info.path.startswith(_OTHER_FOLDERS):
        return None
    return Finding("foreign", info.path, "not a file of a store: it is left alone")
