"""YAML of anybody's is read as plain values, within limits; the rest is one sentence."""

from pathlib import Path

import pytest

from segtransfer.errors import InputError
from segtransfer.tasks.yaml_files import MOST_BYTES, MOST_LEVELS, MOST_VALUES, parse, read_mapping

TEN = ", ".join(["x"] * 10)
# Each line holds the one before it ten times: the last stands for 10^9 values.
BOMB = "\n".join(
    f"a{n}: &a{n} [{TEN if n == 0 else ', '.join([f'*a{n - 1}'] * 10)}]" for n in range(9)
)
MERGES = "a0: &a0 {k: 1, l: 2}\n" + "\n".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 9)
)


def refused(text: str) -> str:
    with pytest.raises(InputError) as caught:
        parse(text, "mine.yaml")
    assert str(caught.value).startswith("mine.yaml ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_plain_values_aliases_and_merges_are_read() -> None:
    text = "a: &a {x: 1, y: [1.5, true, null]}\nb: *a\nc: {<<: *a, x: 2}"
    values = [1.5, True, None]
    assert parse(text, "mine.yaml") == {
        "a": {"x": 1, "y": values},
        "b": {"x": 1, "y": values},
        "c": {"x": 2, "y": values},
    }
    assert parse("", "mine.yaml") is None


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system [ls]",
        "!!python/name:os.system",
        "a: !!python/object/new:subprocess.Popen [[ls]]",
    ],
)
def test_nothing_but_plain_values_is_made(text: str) -> None:
    assert "could not determine a constructor for the tag" in refused(text)


@pytest.mark.parametrize("text", [BOMB, MERGES], ids=["aliases", "merges"])
def test_billions_of_values_by_aliases_are_refused(text: str) -> None:
    assert len(text) < 1000
    assert f"more than {MOST_VALUES:,} values, with every use of an alias counted" in refused(text)


def test_a_long_list_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segtransfer.tasks.yaml_files.MOST_VALUES", 100)
    assert len(parse(f"[{'1,' * 98}]", "mine.yaml")) == 98  # the list counts, and the document
    assert "has more than 100 values" in refused(f"[{'1,' * 99}]")


def test_too_many_levels_by_aliases_are_refused() -> None:
    assert parse("[" * MOST_LEVELS + "]" * MOST_LEVELS, "mine.yaml")
    for text in (
        "[" * (MOST_LEVELS + 1) + "]" * (MOST_LEVELS + 1),
        "a0: &a0 [1]\n" + "\n".join(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, MOST_LEVELS)),
    ):
        assert f"has more than {MOST_LEVELS} levels" in refused(text)
    assert "nest" in refused("[" * 100_000), "and nothing overflows"


@pytest.mark.parametrize("text", ["&a [*a]", "a: *b\nb: &b 1"])
def test_a_value_within_itself_is_refused(text: str) -> None:
    assert "inside or before" in refused(text)


@pytest.mark.parametrize("text", ["[1", "!!bool x", "9" * 5000, "a: b: c", "--- 1\n--- 2", "\x00"])
def test_invalid_yaml_is_refused_in_a_sentence(text: str) -> None:
    assert "is no valid YAML" in refused(text)


def test_a_file_is_read_up_to_a_size(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("a: 1 #" + "x" * (MOST_BYTES - 6))
    assert read_mapping(path, needs="fields") == {"a": 1}
    path.write_text("a: 1 #" + "x" * MOST_BYTES)
    with pytest.raises(InputError, match=rf"mine.yaml has more than {MOST_BYTES:,} bytes"):
        read_mapping(path, needs="fields")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[1, 2]", "holds no mapping; give a mapping with fields"),
        (b"", "holds no mapping; give a mapping with fields"),
        (b"a: \xff", "is no valid YAML"),
    ],
)
def test_file_without_a_mapping_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"mine.yaml {message}"):
        read_mapping(path, needs="fields")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"mine\.yaml cannot be read"):
        read_mapping(tmp_path / "mine.yaml", needs="fields")
