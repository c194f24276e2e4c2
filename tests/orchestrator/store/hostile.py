"""Damaged and hostile stores, each made of a sound store by one or more random changes.

A seed gives the same store each time. Changes that no reader can tell from a result are left out:
whoever writes a row and a blob anew with all hashes, shards and fingerprints right has written a
result.
"""

import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from segtransfer.store import CommitRow, Store
from segtransfer.store.maintenance import compact
from segtransfer.store.rows import encode_rows, row_path

Change = Callable[[random.Random, Store], None]
ESCAPES = ["\x1b[31mred", "\x1b]0;title\x07", "\u202eleft", "\x9b2J", "\ud800", "a\x00b"]
PATHS = ["../../../../etc/passwd", "/etc/passwd", "..", ".", "C:\\x", "rows/../../x"]
VALUES: list[Any] = [
    None, True, False, -1, 0, 7, 2.5, -0.0, 1e308, float("nan"), float("inf"), 10**30, 2**63,
    "", "x", "x" * 100_000, [], {}, [[]], {"a": 1}, [None], "9" * 64, "f" * 64, *ESCAPES, *PATHS,
]  # fmt: skip
TEXTS = [b"", b"{", b"[]", b"null", b"7", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000,
         b"1" * 5000, b'{"cells": 3, "shards": 4}', b"<html></html>"]  # fmt: skip


def hostile_store(sound: Path, folder: Path, seed: int) -> tuple[Store, list[str]]:
    """Return a copy of a store with random changes, and the names of the changes.

    Args:
        sound: The folder of the sound store, which is not changed.
        folder: The folder of the copy, which is made anew.
        seed: The seed of all choices.
    """
    generator = random.Random(seed)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(sound, folder)
    store = Store(str(folder))
    if generator.random() < 0.3:
        compact(store)
    changes = generator.choices(CHANGES, k=generator.choice([1, 1, 1, 2, 4]))
    for change in changes:
        change(generator, store)
    return Store(str(folder)), [change.__name__ for change in changes]


def damage_bytes(generator: random.Random, store: Store) -> None:
    """Change the bytes of any file."""
    path = _any_file(generator, store)
    content = bytearray(path.read_bytes())
    kind = generator.choice(["flip", "cut", "cut start", "append", "zero", "noise", "empty"])
    place = generator.randrange(len(content) or 1)
    if kind == "flip" and content:
        content[place] ^= 1 << generator.randrange(8)
    elif kind == "cut":
        del content[place:]
    elif kind == "cut start":
        del content[:place]
    elif kind == "append":
        content += generator.randbytes(50)
    elif kind == "zero":
        content[place : place + 100] = bytes(len(content[place : place + 100]))
    elif kind == "noise":
        content = bytearray(generator.randbytes(len(content)))
    else:
        content.clear()
    path.write_bytes(bytes(content))


def replace_file(generator: random.Random, store: Store) -> None:
    """Put something that is no file in the place of any file."""
    path = _any_file(generator, store)
    path.unlink()
    kind = generator.choice(["nothing", "folder", "full folder", "pipe", "broken link", "loop"])
    if "folder" in kind:
        path.mkdir()
    if kind == "full folder":
        (path / "mine.txt").write_text("of a user")
    if kind == "pipe":
        os.mkfifo(path)
    if kind == "broken link":
        path.symlink_to("nowhere")
    if kind == "loop":
        path.symlink_to(path.name)


def swap_files(generator: random.Random, store: Store) -> None:
    """Swap two files of one folder of the store."""
    first = _any_file(generator, store)
    top = first.relative_to(store.location).parts[0]
    second = _any_file(generator, store, top)
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)


def rename_file(generator: random.Random, store: Store) -> None:
    """Give a file the name of another, or a name of another kind."""
    first = _any_file(generator, store)
    second = _any_file(generator, store)
    name = generator.choice([second.name, "x", "x.json", "\x1b[31m.parquet", first.name[::-1]])
    first.rename(first.with_name(name))


def replace_folder(generator: random.Random, store: Store) -> None:
    """Put a file in the place of a folder."""
    path = _any_file(generator, store).parent
    if path != Path(store.location):
        shutil.rmtree(path)
        path.write_bytes(b"a file")


def forge_row(generator: random.Random, store: Store) -> None:
    """Write a row, with its hash, that says something else."""
    keys = sorted(store.keys())
    rows = [row for row in map(store.row, keys) if row is not None]
    if not rows:
        return
    row, other = generator.choice(rows), generator.choice(rows)
    forged = generator.choice(
        [
            replace(row, key=generator.choice(["0" * 64, "", *PATHS])),
            replace(row, blob=generator.choice([*PATHS, "blobs/aa/x.arrow", row.blob + "x"])),
            replace(row, sha256="0" * 64),
            replace(row, blob=f"blobs/00/{'0' * 64}.arrow", sha256="0" * 64),
            replace(row, kind=generator.choice(["attack", "evaluate", "", "x"])),
            replace(row, created=generator.choice(["", "now", "2024-01-01", "9" * 30])),
            replace(row, model=generator.choice(["", "0" * 64, None, *ESCAPES[:3]])),
            replace(row, shard=generator.choice(["", "0" * 64, *PATHS])),
            replace(row, images=generator.choice(["", "0" * 64])),
            replace(row, attack=generator.choice(["", "{", "[]", '{"eps": 0.5}', "[" * 9999])),
            replace(row, report=_mutated(generator, row.report)),
            replace(row, report=generator.choice([[], 7, None, {}, {"cost": 7}])),  # type: ignore[arg-type]
            _with_blob_of(row, other),
        ]
    )
    try:
        content = encode_rows([forged])
    except Exception:  # what cannot be written cannot be read
        return
    for key in {row.key, forged.key if len(forged.key) == 64 else row.key}:
        path = Path(store.location, row_path(key))
        if not path.parent.is_file() and not path.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def _with_blob_of(row: CommitRow, other: CommitRow) -> CommitRow:
    """Return a row that names the blob of another kind or shard."""
    if (row.kind, row.shard) == (other.kind, other.shard):
        return row
    return replace(row, blob=other.blob, sha256=other.sha256)


def lie_in_manifest(generator: random.Random, store: Store) -> None:
    """Change any part of the manifest of an experiment."""
    for path in _files(Path(store.location, "experiments")):
        try:
            content = json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            continue
        path.write_text(json.dumps(_mutated(generator, content)), errors="surrogatepass")


def rewrite_text(generator: random.Random, store: Store) -> None:
    """Write a text that is no description of anything."""
    name = generator.choice(
        ["searches/s/trial-1.json", "failures/ab/x.json", "leases/use-x.json", "unlogged/x.json",
         "experiments/x.json", "calibration/x.json", "rows/ab/x.parquet"]
    )  # fmt: skip
    paths = [*_files(Path(store.location, "experiments")), Path(store.location, name)]
    path = generator.choice(paths)
    if not any(parent.is_file() for parent in path.parents):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(generator.choice(TEXTS))


CHANGES: list[Change] = [
    damage_bytes, replace_file, swap_files, rename_file, replace_folder,
    forge_row, forge_row, lie_in_manifest, lie_in_manifest, rewrite_text,
]  # fmt: skip


def _mutated(generator: random.Random, content: Any) -> Any:
    """Return a copy of a JSON value with one part replaced, removed, repeated or moved."""
    copy = json.loads(json.dumps(content))
    if not isinstance(copy, dict | list):
        return generator.choice(VALUES)
    part: Any = copy
    while True:
        names = list(part) if isinstance(part, dict) else range(len(part))
        if not names:
            return generator.choice(VALUES) if part is copy else copy
        name = generator.choice(list(names))
        if isinstance(part[name], dict | list) and part[name] and generator.random() < 0.8:
            part = part[name]
            continue
        kind = generator.choice(["replace", "replace", "remove", "repeat", "swap", "rename"])
        if kind == "remove":
            del part[name]
        elif kind == "repeat" and isinstance(part, list):
            part.append(part[name])
        elif kind == "swap":
            other = generator.choice(list(names))
            part[name], part[other] = part[other], part[name]
        elif kind == "rename" and isinstance(part, dict):
            part[generator.choice(ESCAPES)] = part.pop(name)
        else:
            part[name] = generator.choice(VALUES)
        return copy


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _any_file(generator: random.Random, store: Store, top: str = "") -> Path:
    """Return a file of any kind: folders of few files are chosen as often as folders of many."""
    root = Path(store.location)
    tops = [path for path in sorted(root.iterdir()) if path.is_dir() and _files(path)]
    folder = root / top if top else generator.choice(tops or [root])
    files = _files(folder) or _files(root)
    return generator.choice(files) if files else _new(root)


def _new(root: Path) -> Path:
    path = root / "rows" / "new"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path
