"""Verify: read everything, and say of each file that is not right what is wrong with it."""

import hashlib
import json
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Literal

from segtransfer.store import CommitRow, Store, arrays
from segtransfer.store.files import PARTIAL, FileInfo
from segtransfer.store.maintenance.reading import GRACE_SECONDS, in_threads, read_rows
from segtransfer.store.rows import BLOB_PATH, COMPACTED_PATH, ROW_PATH
from segtransfer.store.store import SHARD_PATH
from segtransfer.tasks.data.shards import Shard

Kind = Literal["damaged", "orphaned", "foreign", "partial"]
AGAIN = "the task counts as not done: run the experiment again"


@dataclass(frozen=True)
class Finding:
    """A file that is not right, and a sentence on what is wrong and what to do."""

    kind: Kind
    path: str
    sentence: str


@dataclass(frozen=True)
class VerifyReport:
    """How much was read, and what was found; sound where nothing is damaged."""

    rows: int
    blobs: int
    shards: int
    experiments: int
    nbytes: int
    findings: tuple[Finding, ...]

    @property
    def sound(self) -> bool:
        return not any(finding.kind == "damaged" for finding in self.findings)


@dataclass(frozen=True)
class _Size:
    """What a blob must agree with: the ids and size of its shard's images."""

    image_ids: tuple[str, ...]
    height: int
    width: int


def verify(store: Store) -> VerifyReport:
    """Read every file: row -> blob -> hash -> arrays -> shapes; change nothing."""
    # Listed first: what is committed meanwhile is then named by a row that is read after.
    infos = store.files.infos("")
    read = read_rows(store)
    findings = [_unreadable(path, count) for path, count in read.unreadable.items()]
    sizes: dict[str, _Size] = {}
    shards = [match[2] for info in infos if (match := SHARD_PATH.fullmatch(info.path))]
    for shard_id, size in zip(shards, in_threads(lambda s: _size(store.shard(s)), shards),
                              strict=True):  # fmt: skip
        if size is None:
            path = f"shards/{shard_id[:2]}/{shard_id}.arrow"
            sentence = "its images or labels are torn or altered: run an experiment on its data"
            findings.append(Finding("damaged", path, f"{sentence} again"))
        else:
            sizes[shard_id] = size
    named: dict[str, list[CommitRow]] = defaultdict(list)
    for row in read.rows.values():
        named[row.blob].append(row)
    for found in in_threads(lambda rows: _check_blob(store, rows, sizes), named.values()):
        findings.extend(found)
    names = [info.path for info in infos if info.path.startswith("experiments/")]
    experiments = [name for name in names if name.endswith(".json")]
    findings += [f for name in experiments if (f := _check_experiment(store, name))]
    findings += [f for info in infos if (f := _check_place(info, named))]
    return VerifyReport(
        rows=len(read.rows),
        blobs=len(named),
        shards=len(shards),
        experiments=len(experiments),
        nbytes=sum(info.nbytes for info in infos),
        findings=tuple(sorted(findings, key=lambda finding: (finding.kind, finding.path))),
    )


def _unreadable(path: str, count: int) -> Finding:
    if ROW_PATH.fullmatch(path):
        return Finding("damaged", path, f"this row is torn or altered; {AGAIN}")
    rows = f"{count} of its rows are" if count else "this file of compacted rows is"
    return Finding("damaged", path, f"{rows} torn or altered; their tasks count as not done: run "
                                    "the experiments again")  # fmt: skip


def _size(shard: Shard | None) -> _Size | None:
    return None if shard is None else _Size(shard.image_ids, *shard.images.shape[2:])


def _check_blob(store: Store, rows: list[CommitRow], sizes: dict[str, _Size]) -> list[Finding]:
    """A blob against its hash, and against what each row that names it says."""
    content = store.files.read(rows[0].blob)
    key = rows[0].key
    if content is None:
        return [Finding("damaged", rows[0].blob, f"row {key} names it, and it is gone; {AGAIN}")]
    if hashlib.sha256(content).hexdigest() != rows[0].sha256:
        sentence = f"its {len(content):,} bytes have another hash than row {key} says; {AGAIN}"
        return [Finding("damaged", rows[0].blob, sentence)]
    wrong = ((row, _wrong_arrays(row, content, sizes.get(row.shard or ""))) for row in rows)
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


def _wrong_arrays(row: CommitRow, content: bytes, size: _Size | None) -> str | None:
    """Why a blob's arrays are not what its row says; None where they are."""
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
    if size is not None and (ids, shape) != (size.image_ids, (size.height, size.width)):
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
    """A file that no row names, that is no file of a store, or that was not finished."""
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
    ours = ROW_PATH, COMPACTED_PATH, SHARD_PATH
    if any(pattern.fullmatch(info.path) for pattern in ours) or info.path.startswith(OTHERS):
        return None
    return Finding("foreign", info.path, "not a file of a store: it is left alone")


OTHERS = ("calibration/", "experiments/", "failures/", "reports/", "searches/")
