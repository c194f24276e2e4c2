"""Build a table of every metric in every matrix cell."""

from collections.abc import Callable, Mapping

import pandas as pd


def cells_of(
    matrices: Mapping[str, Mapping[str, pd.DataFrame]], group: Callable[[str, str], str]
) -> pd.DataFrame:
    """Return a row per attack, source and target.

    Args:
        matrices: Per attack and metric, a frame of sources by targets. All metrics but ``drop`` are
            in percent; ``drop`` is in percentage points. All frames of an attack have equal
            labels.
        group: A function from source and target to their pair group.

    Returns:
        Columns ``attack``, ``source``, ``target``, ``group`` (strings) and a float column per
        metric, NaN for cells without a result. The index counts from 0.
    """
    return pd.DataFrame(
        [
            {"attack": attack, "source": source, "target": target, "group": group(source, target)}
            | {metric: float(matrix.loc[source, target]) for metric, matrix in of_attack.items()}
            for attack, of_attack in matrices.items()
            for source, target in next(iter(of_attack.values())).stack(future_stack=True).index
        ]
    )
