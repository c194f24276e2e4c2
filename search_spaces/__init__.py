"""Search spaces: typed YAML for Optuna's define-by-run, and attacks made from trials."""

from segtransfer.search_spaces.checks import check
from segtransfer.search_spaces.points import attack_of, first_points, point_of, suggest_point
from segtransfer.search_spaces.space import Space, read_space, space_names

__all__ = [
    "Space",
    "attack_of",
    "check",
    "first_points",
    "point_of",
    "read_space",
    "space_names",
    "suggest_point",
]
