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
    tables = []
    for attack, of_attack in matrices.items():
        first = next(iter(of_attack.values()))
        cells = [(source, target) for source in first.index for target in first.columns]
        table = pd.DataFrame(cells, columns=["source", "target"])
        table.insert(0, "attack", attack)
        table["group"] = [group(source, target) for source, target in cells]
        values = {name: matrix.to_numpy(float).ravel() for name, matrix in of_attack.items()}
        tables.append(table.assign(**values))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
