"""A leaderboard of toys: three models of two backbones, four attacks, eight images."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from segtransfer.leaderboard import Leaderboard, leaderboard_of
from segtransfer.leaderboard.record import digest_of, read_record, write_record
from tests.orchestrator.toy_experiments import run_toy, toy, write_images

THREAT = {"eps": "8/255", "budget": 4}


def toy_models() -> list[dict[str, Any]]:
    backbones = {"a": "one", "b": "one", "c": "two"}
    return [
        toy(name, seed=seed) | {"backbone": backbone}
        for seed, (name, backbone) in enumerate(backbones.items())
    ]


def toy_board(folder: Path, **changes: Any) -> Leaderboard:
    """Return the leaderboard of toys, whose store is ``folder/store``."""
    if not (folder / "data").exists():
        write_images(folder / "data", count=8)
    fields: dict[str, Any] = {
        "models": toy_models(),
        "sources": ["a", "c"],
        "threat": THREAT,
        "attacks": ["pgd", "mi", "ds", "noise"],
        "schedule_groups": 4,
    }
    return leaderboard_of(run_toy(folder, **fields | changes))


def written(board: Leaderboard, folder: Path) -> Path:
    path = folder / "leaderboard.json"
    write_record(board.record, path)
    return path


def tampered(path: Path, change: Callable[[dict[str, Any]], Any], *, signed: bool = True) -> Path:
    """Return a copy of a document with a change, whose sha256 fits again if ``signed``."""
    content = json.loads(path.read_text())
    change(content)
    copy = path.with_name("tampered.json")
    copy.write_text(json.dumps(content))
    if signed:  # as someone would who wants the change to pass
        content["sha256"] = digest_of(read_record(copy).content())
        copy.write_text(json.dumps(content))
    return copy
