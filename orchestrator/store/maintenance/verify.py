"""Verify: read every file of a store, and report each file with a problem."""

import hashlib
import re
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from segtransfer.store import CommitRow, Store, arrays
from segtransfer.store.files import FileInfo
from segtransfer.store.local_disk import PARTIAL
from segtransfer.store.maintenance.gc import GRACE_SECONDS
from segtransfer.store.maintenance.reading import in_threads, named_results, read_rows
from segtransfer.store.reports import is_attack_report
from segtransfer.store.rows import BLOB_PATH, COMPACTED_PATH, ROW_PATH
from segtransfer.store.store import SHARD_PATH, parse
from segtransfer.tasks.data.shards import Outline, Shard

Anomaly = Literal["damaged", "orphaned", "foreign", "partial"]
DESCRIPTIONS = ("experiments/", "searches/")
_OTHER_FOLDERS = ("calibration/", "failures/", "leases/", "reports/", "unlogged/", *DESCRIPTIONS)
DESCRIPTION_PATH = re.compile(r"(experiments|searches/[^/]+)/[^/]+\.json")
_NOT_DONE = "the task counts as missing: run the experiment again"


@dataclass(frozen=True)
class Finding:
    """A file with a problem.

    Attributes:
        kind: The kind of problem: damaged content, a blob without a row, a file of another
            program, or a partial file of a write.
        path: The path below the root of the store.
        sentence: The problem, and the remedy if there is one.
    """

    kind: Anomaly
    path: str
    sentence: str


@dataclass(frozen=True)
class VerifyReport:
    """The result of a verification.

    Attributes:
        rows: The number of readable rows.
        blobs: The number of blobs with a row.
        shards: The number of shards.
        experiments: The number of descriptions of experiments and trials.
        nbytes: The bytes of all files.
        findings: The findings, sorted by kind and path.
    """

    rows: int
    blobs: int
    shards: int
    experiments: int
    nbytes: int
    findings: tuple[Finding, ...]

    @property
    def sound(self) -> bool:
        """Return whether no file is damaged."""
        return not any(finding.kind == "damaged" for finding in self.findings)


def verify(store: Store) -> VerifyReport:
    """Read every file of a store and check rows, hashes, arrays and shapes; change nothing.

    Returns:
        The numbers of files, and a finding per file with a problem.

    Raises:
        StoreError: The store cannot be read.
    """
    # Listed first, so that every listed blob with a new row counts as named.
    infos = store.files.infos("")
    index = read_rows(store)
    findings = [_unreadable(path, count) for path, count in index.unreadable.items()]
    expected: dict[str, Outline] = {}
    shards = [match[2] for info in infos if (match := SHARD_PATH.fullmatch(info.path))]
    contents = in_threads(store, lambda shard_id: outline_of(store.shard(shard_id)), shards)
    for shard_id, images in zip(shards, contents, strict=True):
        if images is None:
            path = f"shards/{shard_id[:2]}/{shard_id}.arrow"
            sentence = "the images or labels are damaged: run the experiment again"
            findings.append(Finding("damaged", path, sentence))
        else:
            expected[shard_id] = images
    named: dict[str, list[CommitRow]] = defaultdict(list)
    for row in index.rows.values():
        named[row.blob].append(row)
    for of_blob in in_threads(
        store, lambda rows: _check_blob(store, rows, expected), named.values()
    ):
        findings.extend(of_blob)
    names = [info.path for info in infos if info.path.startswith(DESCRIPTIONS)]
    experiments = [name for name in names if name.endswith(".json")]
    findings += [f for name in experiments if (f := check_experiment(store, name))]
    findings += [f for info in infos if (f := _check_place(info, named))]
    known = {finding.path for finding in findings}
    findings += [
        Finding("damaged", path, f"{sentence}; {_NOT_DONE}")
        for path, sentence in misplaced(store).items()
        if path not in known
    ]
    return VerifyReport(
        rows=len(index.rows),
        blobs=len(named),
        shards=len(shards),
        experiments=len(experiments),
        nbytes=sum(info.nbytes for info in infos),
        findings=tuple(sorted(findings, key=lambda finding: (finding.kind, finding.path))),
    )


def misplaced(store: Store) -> dict[str, str]:
    """Return the paths of folders, broken links, pipes and devices in the place of files.

    Returns:
        A description of each obstacle by path below the root.
    """
    folders, names = store.files.folders(""), set(store.files.names(""))
    found = dict.fromkeys(folders, "a folder is in the place of this file")
    found |= dict.fromkeys(
        names - set(store.files.regular("")), "a broken link, a pipe or a device"
    )
    places = ROW_PATH, COMPACTED_PATH, BLOB_PATH, SHARD_PATH, DESCRIPTION_PATH
    return {p: text for p, text in found.items() if any(place.fullmatch(p) for place in places)}


def _unreadable(path: str, count: int) -> Finding:
    if ROW_PATH.fullmatch(path):
        return Finding("damaged", path, f"the row is damaged; {_NOT_DONE}")
    rows = f"{count} rows are" if count else "the file of compacted rows is"
    return Finding("damaged", path, f"{rows} damaged; the tasks count as missing: run "
                                    "the experiments again")  # fmt: skip


def outline_of(shard: Shard | None) -> Outline | None:
    """Return a shard without its pixels; None for a missing shard."""
    return None if shard is None else shard.outline


def _check_blob(
    store: Store, rows: list[CommitRow], expected: Mapping[str, Outline]
) -> list[Finding]:
    """Check a blob against its hash, and against each row that names the blob."""
    content = store.files.read(rows[0].blob)
    whole = (row if row.kind != "attack" else _with_report(store, row) for row in rows)
    problems = ((row, blob_problem(row, content, expected)) for row in whole if row is not None)
    return [
        Finding("damaged", row.blob, f"{problem} (row {row.key}); {_NOT_DONE}")
        for row, problem in problems
        if problem
    ][: len(rows) if content is not None else 1]


def _with_report(store: Store, bare: CommitRow) -> CommitRow | None:
    """Return a row with its report; None if the row has been replaced since it was indexed."""
    row = store.row(bare.key)
    return row if row is not None and row.blob == bare.blob else None


def blob_problem(
    row: CommitRow, content: bytes | None, expected: Mapping[str, Outline | None]
) -> str | None:
    """Return the problem of a blob that does not fit its row, or None.

    Args:
        row: The row. A row of an attack needs its report.
        content: The bytes of the blob; None for a missing file.
        expected: The ids and size of each shard's images by the shard's id, None for a missing
            shard.

    Returns:
        A clause, or None if hash, arrays, image ids, sizes and report fit.
    """
    if content is None:
        return "the blob of a row is missing"
    if hashlib.sha256(content).hexdigest() != row.sha256:
        return f"the {len(content):,} bytes have another hash than in the row"
    return _wrong_arrays(row, content, expected.get(row.shard or ""))


def _wrong_arrays(row: CommitRow, content: bytes, expected: Outline | None) -> str | None:
    """Return the problem of a blob whose arrays do not fit its row, or None."""
    if row.kind == "attack":
        made = arrays.decode_images(content)
        if made is None:
            return "the content is no adversarial images"
        ids, images = made
        shape, wanted = images.shape[-2:], expected and expected.size
        if not is_attack_report(row.report, len(images), len(ids)):
            return "the report in the row does not fit the attack"
    else:
        scores = arrays.decode_evaluation(content)
        if scores is None:
            return "the content is no scores of images"
        ids, shape = scores.image_ids, scores.predictions.shape[-2:]
        wanted = shape if shape == (1, 1) else expected and expected.label_size  # a classifier's
    if expected is None:
        return None
    if (ids, shape) != (expected.image_ids, wanted):
        return "the images differ from the images of the shard"
    return None


def check_experiment(store: Store, path: str) -> Finding | None:
    """Check the description of an experiment or trial.

    Args:
        store: The store.
        path: The path of the description below the root.

    Returns:
        A finding if the description cannot be read, else None.
    """
    content = store.files.read(path)
    if content is not None and named_results(parse(content)) is not None:
        return None
    return Finding("damaged", path, "the description is damaged: run its experiment again")


def _check_place(info: FileInfo, named: dict[str, list[CommitRow]]) -> Finding | None:
    """Return a finding for a blob without a row, a foreign file, or a partial file of a write."""
    recent = time.time() - info.mtime_ns / 1e9 < GRACE_SECONDS
    if info.path.rsplit("/", 1)[-1].startswith(PARTIAL):
        sentence = "a write in progress" if recent else "an interrupted write: gc removes the file"
        return Finding("partial", info.path, sentence)
    if BLOB_PATH.fullmatch(info.path):
        if info.path in named:
            return None
        sentence = "no row names the blob"
        sentence += ", perhaps not yet" if recent else ": gc removes the blob"
        return Finding("orphaned", info.path, sentence)
    known = ROW_PATH, COMPACTED_PATH, SHARD_PATH
    if any(pattern.fullmatch(info.path) for pattern in known):
        return None
    if info.path.startswith(_OTHER_FOLDERS):
        return None
    return Finding("foreign", info.path, "a file of another program, which is kept")
