"""The results of an experiment from one pass over its shards, with sums in place of images."""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from segtransfer.experiment.task import Cell as Place
from segtransfer.export.reading import Reader, Scored
from segtransfer.results import Cell, Results


@dataclass(frozen=True)
class Sum:
    """A cell's confusions K x K, its fooled and right pixels, how many images and shards it has."""

    confusions: np.ndarray
    fooled: np.ndarray | None
    images: int
    shards: int


class Sums:
    """Adds up what was scored: a matrix a cell, however many images there are."""

    def __init__(self) -> None:
        self._sums: dict[Cell, Sum] = {}

    def add(self, scored: Scored) -> None:
        """Add the images of one evaluation to their cell."""
        cell, confusions = _cell(scored.place), scored.evaluation.confusions
        fooled = None if scored.fooled is None else scored.fooled.sum(0)
        new = Sum(confusions.sum(0), fooled, len(confusions), 1)
        old = self._sums.get(cell)
        self._sums[cell] = new if old is None else _added(old, new)

    def images(self, cell: Cell) -> int:
        """How many images of a cell were scored."""
        return self._sums[cell].images if cell in self._sums else 0

    def results(self, reader: Reader) -> Results:
        """The results, each cell as if it were one image; a cell of which a shard is missing stays
        out, as it does everywhere."""
        shards = Counter(_cell(place) for places in reader.places.values() for place in places)
        whole = {cell: s for cell, s in self._sums.items() if s.shards == shards[cell]}
        return replace(
            reader.experiment,
            image_ids=tuple(reader.sequences),
            sequences=tuple(reader.sequences.values()),
            confusions={cell: s.confusions[None] for cell, s in whole.items()},
            fooled={cell: s.fooled[None] for cell, s in whole.items() if s.fooled is not None},
            missing=frozenset(reader.missing),
        )


def _added(a: Sum, b: Sum) -> Sum:
    fooled = None
    if a.fooled is not None and b.fooled is not None:
        fooled = a.fooled + b.fooled
    confusions = a.confusions + b.confusions
    return Sum(confusions, fooled, a.images + b.images, a.shards + b.shards)


def _cell(place: Place) -> Cell:
    return place.attack, place.source, place.target
