"""``base:`` in specs: merged fields, paths of the file that wrote them, and wrong bases."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from segtransfer.errors import InputError
from segtransfer.experiment.reading import read_experiment
from segtransfer.searches.spec import read_search
from tests.orchestrator.reporting.made_results import toy_search
from tests.orchestrator.toy_experiments import toy, toy_spec, write_images


def write(path: Path, content: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A complete spec in a folder of its own, with data beside it."""
    write_images(tmp_path / "team/data")
    content = toy_spec(tmp_path / "team", name="team")
    content["data"]["folder"] = "data"
    return write(tmp_path / "team/base.yaml", content)


def test_fields_are_merged_and_lists_replaced(base: Path, tmp_path: Path) -> None:
    mine = {"base": "team/base.yaml", "data": {"images": 3}, "models": [toy("c", seed=3)]}
    read = read_experiment(str(write(tmp_path / "mine.yaml", mine)))
    theirs = read_experiment(str(base))
    assert read.name == "mine"
    assert [model.name for model in read.models] == ["c"]
    assert read.attacks == theirs.attacks
    assert read.data == theirs.data.model_copy(update={"images": 3})
    assert read.data.folder == str(base.parent / "data")


def test_a_spec_with_all_fields_of_its_base_is_the_same_experiment(
    base: Path, tmp_path: Path
) -> None:
    read = read_experiment(str(write(tmp_path / "team.yaml", {"base": str(base)})))
    assert read == read_experiment(str(base))


def test_a_base_has_a_base_and_overrides_come_last(base: Path, tmp_path: Path) -> None:
    write(tmp_path / "team/second.yaml", {"base": "base.yaml", "shard_size": 4, "seed": 5})
    path = write(tmp_path / "mine.yaml", {"base": "team/second.yaml", "seed": 6})
    read = read_experiment(str(path), ["schedule_groups=1"])
    assert (read.shard_size, read.seed, read.schedule_groups) == (4, 6, 1)


def test_null_removes_a_field_of_the_base(base: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "own")
    data = {"folder": None, "sample": "camvid", "classes": None}
    read = read_experiment(str(write(tmp_path / "mine.yaml", {"base": str(base), "data": data})))
    assert (read.data.folder, read.data.sample) == (None, "camvid")


@pytest.mark.parametrize("wrong", [{"sorces": None}, {"data": {"imagse": None}}])
def test_misspelt_null_field_is_refused(wrong: dict[str, Any], base: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "mine.yaml", {"base": str(base)} | wrong)
    with pytest.raises(InputError, match=r"unknown key '(sorces|imagse)'"):
        read_experiment(str(path))


def test_a_recipe_is_a_base_and_a_short_form_is_merged_as_its_long_form(tmp_path: Path) -> None:
    write(tmp_path / "short.yaml", {"base": "quickstart", "data": "camvid"})
    read = read_experiment(
        str(write(tmp_path / "mine.yaml", {"base": "short.yaml", "data": {"images": 4}}))
    )
    assert (read.data.sample, read.data.images) == ("camvid", 4)
    assert read.attacks == read_experiment("quickstart").attacks


def test_the_attack_of_a_search_keeps_the_preset_of_the_base(tmp_path: Path) -> None:
    write(tmp_path / "team.yaml", toy_search(tmp_path, attack="pgd"))
    mine = {"base": "team.yaml", "attack": {"steps": 5}}
    read = read_search(str(write(tmp_path / "mine.yaml", mine)), ["attack.eps=4/255"])
    assert read.attack == {"preset": "pgd", "steps": 5, "eps": "4/255"}


def test_a_root_of_the_base_starts_at_the_folder_of_the_base(base: Path, tmp_path: Path) -> None:
    content = yaml.safe_load(base.read_text())
    content["data"] |= {"root": ".", "folder": "nowhere"}
    write(base, content)
    mine = {"base": str(base), "data": {"folder": "data"}}
    read = read_experiment(str(write(tmp_path / "deep/mine.yaml", mine)))
    assert read.data.folder == str(base.parent / "data")


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ("mine.yaml", "field 'base' leads back to .*mine.yaml"),
        ("other.yaml", "field 'base' leads back to .*other.yaml"),
        ("nowhere.yaml", "base 'nowhere.yaml' is neither a file nor a recipe"),
        ("~nobody-here/team.yaml", "'~nobody-here/team.yaml' is neither a file nor a recipe"),
        ("x" * 5000, r"'x+\.\.\.' is neither a file nor a recipe"),
        ([1], r"field 'base' must be a file or a recipe \(value: \[1\]\)"),
    ],
)
def test_unreadable_base_is_refused(named: Any, told: str, tmp_path: Path) -> None:
    write(tmp_path / "other.yaml", {"base": "mine.yaml"})
    path = write(tmp_path / "mine.yaml", {"base": named})
    with pytest.raises(InputError, match=told):
        read_experiment(str(path))
