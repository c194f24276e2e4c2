"""Leaderboard: the attacks of a threat model at equal cost, ranked on other backbones."""

from segtransfer.leaderboard.leaderboard import Leaderboard, check_ranked, leaderboard_of
from segtransfer.leaderboard.verification import verify_file

__all__ = ["Leaderboard", "check_ranked", "leaderboard_of", "verify_file"]
