"""A document is ranked again from its counts, and is sound afterwards."""

import runpy
from pathlib import Path
from typing import Any

from segtransfer.leaderboard import verify_file
from segtransfer.leaderboard.record import read_record, write_record
from tests.conftest import ROOT
from tests.orchestrator.leaderboard.boards import tampered, toy_board, written


def swap_ranks(content: dict[str, Any]) -> None:
    content["attacks"].reverse()
    for rank, attack in enumerate(content["attacks"], start=7):
        attack["rank"] = rank
        attack["drop"]["low"] = -100.0


def test_document_with_old_ranks_is_sound_after_ranking_again(tmp_path: Path) -> None:
    script = runpy.run_path(str(ROOT / "infra/studies/rerank.py"))
    board = toy_board(tmp_path / "board")
    path = written(board, tmp_path)
    right = read_record(path)
    old = tampered(path, swap_ranks)
    assert verify_file(old).problems
    again, _ = script["reranked"](read_record(old))
    write_record(again, old)
    assert verify_file(old, board.results.store.location).problems == ()
    assert again == right
    heads, _, *rows = script["table"](again).splitlines()
    assert heads.startswith("| rank | attack | drop in mIoU, points | behind the first |")
    assert len(rows) == len(right.attacks)


def test_shipped_documents_follow_from_their_counts() -> None:
    for path in (ROOT / "docs/explanation/leaderboards").glob("*.json"):
        assert verify_file(path).problems == ()
