"""Keep the counts behind a study's paragraph in a file, and recompute the paragraph from the file.

    python infra/studies/evidence.py pack rivals camvid data.folder=PATH/TO/camvid
    python infra/studies/evidence.py check

``pack`` takes the arguments of ``segtransfer study``.
``pack`` runs the study (stored results are not computed again) and writes
``infra/studies/evidence/NAME.parquet``. ``check`` prints each paragraph whose text differs from
``tasks/studies/README.md``, and ends with code 1 if there is any. Neither models nor images are
needed. The study ``object-size`` reads predictions, so its counts do not suffice.

A file has a row per attack, source, target and image: ``counts``, 3 K numbers of pixels (right,
labelled and predicted of each class), and ``fooled``, two numbers of pixels or null. Its metadata,
JSON compressed by zlib, has the manifest without the run, the base of the study, the images and the
attacks' means.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import compress, decompress

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from segtransfer import api
from segtransfer.experiment.manifest import Manifest
from segtransfer.experiment.task import MatrixIndex
from segtransfer.results import Results
from segtransfer.store import Store
from segtransfer.studies import BaseExperiment, conclude, find_study, read_base, split_base

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "infra/studies/evidence"
PAGE = ROOT / "tasks/studies/README.md"
SCHEMA = pa.schema(
    [
        ("attack", pa.string()),
        ("source", pa.string()),
        ("target", pa.string()),
        ("image", pa.int32()),
        ("counts", pa.list_(pa.int32())),
        ("fooled", pa.list_(pa.int32())),
    ]
)


@dataclass(frozen=True, repr=False)
class Packed(Results):
    """Results whose attack statistics are means read from a file.

    Attributes:
        means: Per variant, the mean ``rms`` in levels and the mean ``forward_equivalents``.
    """

    means: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def perturbation(self, attack: str) -> pd.Series:
        """Return the ``rms`` of a variant."""
        return pd.Series(self.means[attack])

    def cost(self, attack: str) -> pd.Series:
        """Return the ``forward_equivalents`` of a variant."""
        return pd.Series(self.means[attack])


def pack(path: Path, results: Results, base: BaseExperiment) -> None:
    """Write the counts of a study's experiment.

    Args:
        path: The file to write.
        results: The complete results.
        base: The base of the study.
    """
    cells: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
    for index, counts in results.counts.items():
        fooled = results.fooled.get(index)
        for image, matrix in enumerate(counts):
            row = [*index, image, matrix.ravel(), None if fooled is None else fooled[image]]
            for name, value in zip(SCHEMA.names, row, strict=True):
                cells[name].append(value)
    described = {
        "identity": results.identity,
        "manifest": results.manifest.model_dump(mode="json", by_alias=True) | {"run": None},
        "base": base.model_dump(mode="json", exclude={"runtime"}),
        "images": results.image_ids,
        "sequences": results.sequences,
        "random_targets": sorted(results.random_targets),
        "means": {attack: _means(results, attack) for attack in results.attacks},
    }
    packed = {key: compress(json.dumps(_portable(v)).encode()) for key, v in described.items()}
    table = pa.table(cells, schema=SCHEMA.with_metadata(packed))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="zstd", compression_level=19)


def _portable(value: Any) -> Any:
    """Return a JSON value in which absolute paths are cut to the last part."""
    if isinstance(value, dict):
        return {key: _portable(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_portable(part) for part in value]
    return Path(value).name if isinstance(value, str) and value.startswith("/") else value


def _means(results: Results, attack: str) -> dict[str, float]:
    rms = float(results.perturbation(attack).get("rms", np.nan))
    return {"rms": rms, "forward_equivalents": float(results.cost(attack)["forward_equivalents"])}


def unpack(path: Path) -> tuple[Results, BaseExperiment]:
    """Return the results in a file, and the base of their study."""
    table = pq.read_table(path)
    metadata = table.schema.metadata
    found = {key.decode(): json.loads(decompress(value)) for key, value in metadata.items()}
    manifest = Manifest.model_validate(found["manifest"])
    size = len(found["images"])
    counts: dict[MatrixIndex, np.ndarray] = {}
    fooled: dict[MatrixIndex, np.ndarray] = {}
    columns = {name: table[name].to_pylist() for name in SCHEMA.names}
    for start in range(0, table.num_rows, size):
        index = tuple(columns[name][start] for name in ("attack", "source", "target"))
        rows = slice(start, start + size)
        counts[index] = np.array(columns["counts"][rows], np.int32).reshape(size, 3, -1)
        if columns["fooled"][start] is not None:
            fooled[index] = np.array(columns["fooled"][rows], np.int32)
    results = Packed(
        identity=found["identity"],
        store=Store("/packed"),
        manifest=manifest,
        image_ids=tuple(found["images"]),
        sequences=tuple(found["sequences"]),
        counts=counts,
        fooled=fooled,
        missing=frozenset(),
        random_targets=frozenset(found["random_targets"]),
        means=found["means"],
    )
    return results, read_base(found["base"])


def differing(page: str, folder: Path) -> dict[str, str]:
    """Return the paragraphs recomputed from the files of a folder that a page lacks, by study."""
    told = " ".join(page.split()).replace("\\*", "*")
    lacking = {}
    for path in sorted(folder.glob("*.parquet")):
        results, base = unpack(path)
        paragraph = conclude(find_study(path.stem.partition(".")[0]), base, results).paragraph
        if " ".join(paragraph.split()) not in told:
            lacking[path.stem] = paragraph
    return lacking


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    packed = verbs.add_parser("pack", help="write the counts of a study")
    packed.add_argument("study", help="NAME, or NAME.PART for a further file of the same study")
    packed.add_argument("base", nargs="*", help="BASE OVERRIDES, as of segtransfer study")
    verbs.add_parser("check", help="recompute every paragraph and compare it with the page")
    return parser.parse_args(given)


def main() -> None:
    args = arguments()
    if args.verb == "pack":
        source, overrides = split_base(args.base)
        base = read_base(source, overrides)
        pack(
            FOLDER / f"{args.study}.parquet",
            api.study(args.study.partition(".")[0], base).results,
            base,
        )
        return
    lacking = differing(PAGE.read_text(), FOLDER)
    for name, paragraph in lacking.items():
        print(f"{name}: {paragraph}\n")
    sys.exit(bool(lacking))


if __name__ == "__main__":
    main()
