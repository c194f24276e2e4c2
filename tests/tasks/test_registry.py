"""The registry: what ships, what packages install, what the user's folder holds."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from segtransfer.errors import InputError
from segtransfer.tasks.attacks.losses import LOSSES
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.attacks.transforms import TRANSFORMS
from segtransfer.tasks.registry import Registry
from tests.tasks.foreign import on_path, write_entry_points, write_module

LOSS = "from reg_pack.helper import SIGN\n\n\ndef f(logits, labels, context):\n    return SIGN\n"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of an installed package whose loss imports a module beside it."""
    folder = tmp_path / "site-packages"
    write_entry_points(
        folder,
        "reg_pack",
        losses={"theirs": "reg_pack.losses:f", "js": "reg_pack.losses:f"},
        transforms={"theirs": "reg_pack.losses:f"},
    )
    write_module(folder, "reg_pack.helper", "SIGN = 1\n")
    write_module(folder, "reg_pack.losses", LOSS)
    with on_path(monkeypatch, folder):
        yield folder


def test_registry_is_a_mapping_of_shipped_entries() -> None:
    assert {"di", "rdi", "si", "admix", "ssa", "ds"} <= set(TRANSFORMS)
    assert len(LOSSES) == len([*LOSSES]) >= 7
    assert LOSSES.code_hash("js") is None


def test_an_entry_point_is_an_entry_by_its_name(installed: Path) -> None:
    assert LOSSES.installed() == {"theirs": "reg_pack.losses:f", "js": "reg_pack.losses:f"}
    assert LOSSES.find("theirs")(None, None, None) == 1  # type: ignore[arg-type]
    assert LOSSES.is_foreign("theirs")
    assert not LOSSES.is_foreign("unheard-of")


def test_an_entry_that_ships_is_hidden_by_no_package(installed: Path) -> None:
    assert LOSSES.find("js") is LOSSES["js"]


def test_the_hash_of_an_entry_point_covers_its_package(installed: Path) -> None:
    before = LOSSES.code_hash("theirs")
    assert LOSSES.find("theirs", before) is LOSSES.find("theirs")
    write_module(installed, "reg_pack.helper", "SIGN = -1\n")
    assert LOSSES.code_hash("theirs") != before


def test_hash_of_a_module_of_an_installed_package_is_unchanged(installed: Path) -> None:
    """A loss named ``module:function`` has keys in stores: of an installed one, its file alone."""
    before = LOSSES.code_hash("reg_pack.losses:f")
    write_module(installed, "reg_pack.helper", "SIGN = -1\n")
    assert LOSSES.code_hash("reg_pack.losses:f") == before


def test_a_name_of_two_packages_is_refused_and_both_places_named(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_entry_points(tmp_path / "other", "reg_other", losses={"theirs": "reg_other:g"})
    with (
        on_path(monkeypatch, installed, tmp_path / "other"),
        pytest.raises(InputError, match=r"several packages; write .*reg_other:g"),
    ):
        LOSSES.find("theirs")


def test_an_unknown_name_is_answered_with_all_names(installed: Path) -> None:
    with pytest.raises(InputError, match=r"unknown loss 'their': did you mean 'theirs'\? .*fspgd"):
        LOSSES.find("their")


def test_an_object_of_another_kind_is_refused(installed: Path) -> None:
    message = r"transform theirs is no class with a method view, derived from .*Transform"
    with pytest.raises(InputError, match=message):
        TRANSFORMS.find("theirs")


def test_an_entry_of_other_code_than_planned_is_refused(installed: Path) -> None:
    with pytest.raises(InputError, match="the code of loss theirs changed since the plan"):
        LOSSES.find("theirs", "0" * 64)


def test_two_shipped_entries_have_two_names() -> None:
    registry: Registry[object] = Registry("toys", (__name__,), callable, "function")
    registry.add("one")(print)
    for name, entry in (("one", print), ("m:two", print), ("three", 3)):
        with pytest.raises(ValueError, match=name):
            registry.add(name)(entry)


def test_an_entry_that_is_added_elsewhere_is_refused_because_no_key_has_its_code(
    installed: Path,
) -> None:
    text = "from segtransfer.extend import LOSSES\n\n\n@LOSSES.add('mine')\ndef mine(*given): ...\n"
    write_module(installed, "adding", text)
    with pytest.raises(
        InputError,
        match=r"loss 'mine' is added in adding, outside segtransfer; .* as adding:attribute",
    ):
        LOSSES.find("adding:mine")
    assert "mine" not in LOSSES


def test_a_registry_whose_import_failed_is_loaded_by_the_next_call(installed: Path) -> None:
    write_module(installed, "homely", "raise OSError('not yet')\n")
    registry: Registry[object] = Registry("toys", ("homely",), callable, "function")
    with pytest.raises(OSError, match="not yet"):
        list(registry)
    write_module(installed, "homely", "from tests.tasks import test_registry\n")
    assert list(registry) == []
    assert registry.names() == []


@pytest.mark.parametrize("fields", [False, 0, [], "", 3])
def test_fields_of_an_entry_are_a_mapping_or_nothing(fields: object) -> None:
    with pytest.raises(ValidationError, match="give a mapping of fields to values"):
        AttackSpec.model_validate({"preset": "pgd", "transforms": [{"di": fields}]})


@pytest.mark.parametrize("transform", [{}, {"di": {}, "si": {}}])
def test_a_mapping_of_no_or_several_names_is_refused(transform: object) -> None:
    with pytest.raises(
        ValidationError, match="a transform is a mapping of a single name to fields"
    ):
        AttackSpec.model_validate({"preset": "pgd", "transforms": [transform]})
