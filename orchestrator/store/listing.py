"""The table of a store's experiments, read from their descriptions alone."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from segtransfer.store.files import FileInfo

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("name", "dataset", "attacks", "sources", "targets", "seed", "done", "written", "damage")


def experiments_table(
    files: Iterable[FileInfo],
    describe: Callable[[str], Mapping[str, Any] | None],
    keys: set[str],
) -> "pd.DataFrame":
    """Return a table of a store's experiments; no result is read.

    Args:
        files: The files of the experiments' descriptions.
        describe: A function from an identity to the description, or to None if it is truncated.
        keys: The keys of the stored tasks.

    Returns:
        A row per experiment, oldest first, indexed by ``identity``. ``attacks``, ``sources`` and
        ``targets`` are lists of names. ``done`` is the stored share of the tasks, 0 to 1.
        ``written`` is the time of the last run (UTC). ``damage`` is the reason why the description
        cannot be read; the other columns are then missing values. Empty for an intact description.
    """
    import pandas as pd  # so that opening a store loads no pandas

    rows = []
    infos = [info for info in files if info.path.endswith(".json")]
    for info in sorted(infos, key=lambda info: (info.mtime_ns, info.path)):
        identity = info.path.removeprefix("experiments/").removesuffix(".json")
        content = describe(identity)
        row: dict[str, Any] = {"written": pd.Timestamp(info.mtime_ns, tz="UTC").floor("s")}
        row["damage"] = "" if content else "the description is damaged"
        try:
            row |= _described(content or {}, keys)
        except (AttributeError, KeyError, TypeError, ValueError):  # altered, or of other versions
            row["damage"] = row["damage"] or "the description is altered or of another version"
        rows.append({"identity": identity, **row})
    table = pd.DataFrame(rows, columns=["identity", *COLUMNS])
    return table.set_index("identity")


def _described(content: Mapping[str, Any], keys: set[str]) -> dict[str, Any]:
    spec, tasks = content["spec"], set(_tasks(content["cells"]))
    return {
        "name": str(spec["name"]),
        "dataset": str(content["dataset"]),
        "attacks": [str(variant["name"]) for variant in content["attacks"]],
        "sources": list(map(str, content["sources"])),
        "targets": list(map(str, content["targets"])),
        "seed": int(spec["seed"]),
        "done": len(tasks & keys) / len(tasks),
    }


def _tasks(cells: list[list[str | None]]) -> Iterator[str]:
    """Yield the keys of the tasks of cells: evaluations, and the attacks that they score."""
    for *_, evaluation, attack in cells:
        yield from (key for key in (evaluation, attack) if key is not None)
