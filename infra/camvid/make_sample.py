"""Make the CamVid sample that ships: 32 test frames at 240 x 320 as PNG, with labels.

    python infra/camvid/make_sample.py PATH/TO/camvid

Frames are evenly spaced inside each test sequence, in proportion to its length but at least ten.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

from segtransfer.tasks.data.base import fit_to, read_image, read_index_map

CLASSES = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian",
    "bicyclist",
)  # fmt: skip
PALETTE = [
    [128, 128, 128], [128, 0, 0], [192, 192, 128], [128, 64, 128], [60, 40, 222], [128, 128, 0],
    [192, 128, 128], [64, 64, 128], [64, 0, 128], [64, 64, 0], [0, 128, 192],
]  # fmt: skip
SIZE = (240, 320)
COUNT = 32
AT_LEAST = 10
OUT = Path(__file__).resolve().parents[2] / "tasks" / "data" / "camvid"


def chosen(images: Path) -> list[Path]:
    sequences: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(images.glob("*.jpg")):
        sequences[path.stem.split("_")[0]].append(path)
    total = sum(map(len, sequences.values()))
    counts = {n: max(AT_LEAST, COUNT * len(p) // total) for n, p in sequences.items()}
    longest = max(sequences, key=lambda name: len(sequences[name]))
    counts[longest] += COUNT - sum(counts.values())
    return [p[i * len(p) // counts[n]] for n, p in sequences.items() for i in range(counts[n])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("camvid", type=Path)
    camvid = parser.parse_args().camvid
    present: set[int] = set()
    for folder in ("images", "labels"):
        (OUT / folder).mkdir(parents=True, exist_ok=True)
    for path in chosen(camvid / "images" / "test"):
        label = read_index_map(camvid / "labels" / "test" / f"{path.stem}.png")
        image, label = fit_to(read_image(path), label, SIZE, "resize")
        Image.fromarray(image).save(OUT / "images" / f"{path.stem}.png", optimize=True)
        Image.fromarray(label).save(OUT / "labels" / f"{path.stem}.png", optimize=True)
        present |= set(np.unique(label).tolist())
    missing = set(range(len(CLASSES))) - present
    assert not missing, f"classes {missing} do not occur in the sample"
    notes = {"classes": CLASSES, "palette": PALETTE, "sequence": "^([^_]+)_"}
    (OUT / "dataset.json").write_text(json.dumps(notes, indent=1) + "\n")


if __name__ == "__main__":
    main()
