"""No damaged or hostile store gives a wrong number or a traceback, and repairs remove no result."""

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from segtransfer import open_results
from segtransfer.cli.console import Terminal
from segtransfer.errors import InputError
from segtransfer.export import export
from segtransfer.reporting.maintenance import print_damage, print_garbage, print_verification
from segtransfer.reporting.terminal import print_results
from segtransfer.results import Results
from segtransfer.store import Store
from segtransfer.store.maintenance import (
    find_damage,
    find_garbage,
    open_existing,
    remove_damage,
    verify,
)
from segtransfer.store.rows import row_path
from tests.orchestrator.store.hostile import hostile_store
from tests.orchestrator.toy_experiments import run_toy

FEW, MANY, PARTS = 50, 2000, 200
MEMORY = Path("/dev/shm")  # thousands of files are written there at once
ATTACKS = [
    {"preset": "noise", "eps": "8/255"},
    {"preset": "ds-mi", "eps": "8/255", "steps": 2, "steps_at": [1, 2]},
]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("sound")
    return run_toy(folder, attacks=ATTACKS, sources=["a"], schedule_groups=1, shard_size=3)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, or else on the disk."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else tmp_path) as name:
        yield Path(name)


def check(sound: Results, folder: Path, seed: int) -> None:
    store, changes = hostile_store(Path(sound.store.location), folder / "store", seed)
    try:
        look(sound, store, folder, seed)
    except Exception as error:
        error.add_note(f"seed {seed}: {', '.join(changes)}")
        raise


def look(sound: Results, store: Store, folder: Path, seed: int) -> None:
    """Read, verify, repair and export a store: each succeeds, or ends with a sentence."""
    console = Terminal(file=io.StringIO(), width=200)
    for _ in range(2):  # before and after the repair
        try:
            open_existing(store.location)
            for results in open_results(store.location):
                check_numbers(sound, results)
                print_results(results, console)
                results.frame()
        except (InputError, OSError) as error:
            check_sentence(error)
        repair(store, console)
    try:
        print_garbage(find_garbage(store, unreferenced=True), console)
        if seed % 10 == 0:
            export(store.location, folder / f"tables-{seed}", "csv")
    except (InputError, OSError) as error:
        check_sentence(error)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert not [c for c in text if not c.isprintable() and c != "\n"]


def repair(store: Store, console: Terminal) -> None:
    """Verify and repair; every row that was sound is there afterwards."""
    try:
        print_verification(verify(store), store, console)
        damages = find_damage(store)
        keys = store.keys()
        rows = {key: row for key in keys if (row := store.row(key)) is not None}
        listed = {key for damage in damages for key in damage.keys} | {d.path for d in damages}
        print_damage(damages, console)
        remove_damage(store, damages)
        assert find_damage(store) == ()
        assert verify(store).sound, verify(store).findings
        if any(path.startswith("compacted/") for path in listed):
            return
        for key in rows.keys() - listed:
            if row_path(key) not in listed:
                assert store.row(key) == rows[key]
                assert store.blob(rows[key]) is not None
    except (InputError, OSError) as error:
        check_sentence(error)


def check_numbers(sound: Results, results: Results) -> None:
    """Each image has its own numbers, in whatever order the manifest names the shards."""
    order = [sound.image_ids.index(image_id) for image_id in results.image_ids]
    for cell, counts in results.counts.items():
        assert cell in sound.counts
        np.testing.assert_array_equal(counts, sound.counts[cell][order])
    for cell, fooled in results.fooled.items():
        np.testing.assert_array_equal(fooled, sound.fooled[cell][order])


def check_sentence(error: Exception) -> None:
    text = str(error)
    assert text, repr(error)
    assert "Traceback" not in text
    assert len(text) < 2000


@pytest.mark.parametrize("seeds", [range(n, FEW, 5) for n in range(5)])
def test_hostile_stores_are_repaired_or_refused(sound: Results, folder: Path, seeds: range) -> None:
    for seed in seeds:
        check(sound, folder, seed)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_many_hostile_stores_are_repaired_or_refused(
    sound: Results, folder: Path, part: int
) -> None:
    for seed in range(FEW + part, FEW + MANY, PARTS):
        check(sound, folder, seed)
