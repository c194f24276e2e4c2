import dataclasses

import pytest

from segtransfer.errors import InputError
from segtransfer.tasks.data.open import open_dataset
from segtransfer.tasks.data.spec import DataSpec
from segtransfer.tasks.models import adapters
from segtransfer.tasks.models.files import sha256_of
from segtransfer.tasks.models.spec import ModelSpec
from segtransfer.tasks.models.zoo import ZOO


@pytest.mark.parametrize("name", ZOO)
def test_a_shipped_model_has_the_weights_that_were_published_and_is_small(name: str) -> None:
    assert sha256_of(ZOO[name].weights) == ZOO[name].sha256
    assert ZOO[name].weights.stat().st_size <= 10_000_000
    assert ZOO[name].config.is_file()
    assert ZOO[name].description


@pytest.mark.parametrize("name", ZOO)
def test_a_shipped_model_fits_its_config_and_the_sample(name: str) -> None:
    read = ModelSpec.model_validate(name)
    adapters.check(read)
    info = adapters.describe(read)
    assert info.backbone == ZOO[name].backbone
    assert info.num_classes == len(ZOO[name].classes) == 11
    assert info.classes == open_dataset(DataSpec(sample="camvid")).classes


def test_shipped_models_have_different_fingerprints() -> None:
    found = {adapters.describe(ModelSpec.model_validate(name)).fingerprint for name in ZOO}
    assert len(found) == len(ZOO) >= 2


def test_changed_shipped_weights_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    altered = dataclasses.replace(ZOO["fcn-r18"], sha256="0" * 64)
    monkeypatch.setitem(ZOO, "fcn-r18", altered)
    with pytest.raises(InputError, match="'fcn-r18' differ from the shipped"):
        adapters.check(ModelSpec.model_validate("fcn-r18"))
