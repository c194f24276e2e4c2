"""Whether every scalar of a written spec stands in what was read from it, with its type."""

from fractions import Fraction
from pathlib import Path
from typing import Any

SHORT_FORMS = ("preset", "zoo", "sample", "members", "forward_equivalents")


def problems(written: Any, read: Any, at: str = "") -> list[str]:
    """Return a line per scalar that is missing, changed or of another type.

    Args:
        written: The content of a file.
        read: ``model_dump(mode="json")`` of the spec that was read from it.
        at: The path of both.
    """
    if isinstance(written, dict):
        return _of_mapping(written, read, at)
    if isinstance(written, list):
        if isinstance(read, dict) and "members" in read:
            read = read["members"]
        if not isinstance(read, list) or len(read) != len(written):
            return [f"{at}: {written!r} became {read!r}"]
        pairs = enumerate(zip(written, read, strict=True))
        return [line for i, pair in pairs for line in problems(*pair, f"{at}.{i}")]
    return [] if _same(written, read) else [f"{at}: {written!r} became {read!r}"]


def _of_mapping(written: dict[str, Any], read: Any, at: str) -> list[str]:
    if not isinstance(read, dict):
        return [f"{at}: {written!r} became {read!r}"]
    if len(written) == 1 and "kind" in read and "kind" not in written:  # {ds: {low: 0.5}}
        ((kind, fields),) = written.items()
        if kind == read["kind"]:
            return problems(fields or {}, read, f"{at}.{kind}")
    lines = []
    for key, value in written.items():
        if key == "preset":
            continue
        key = str(key)
        if key == "prob":
            key = "probability"
        if key not in read:
            lines.append(f"{at}.{key}: {value!r} is missing")
        elif value is not None or key != "steps":  # a budget fills in steps that are null
            lines += problems(value, read[key], f"{at}.{key}")
    return lines


def _same(written: Any, read: Any) -> bool:
    if isinstance(read, dict):  # a bare name, a preset of parts, a budget
        return any(_same(written, read.get(name)) for name in (*SHORT_FORMS, "name", "kind")) or (
            written in ("ti", "fast", "reference")
        )
    if isinstance(written, bool) or written is None or isinstance(read, bool):
        return written is read
    if isinstance(written, int | float):
        widened = isinstance(written, int) and isinstance(read, float)
        return written == read and (type(written) is type(read) or widened)
    if isinstance(read, float):
        return "eps" in written or float(Fraction(written.replace(" ", ""))) == read
    return read == written or read == str((Path.cwd() / Path(written).expanduser()).resolve())
