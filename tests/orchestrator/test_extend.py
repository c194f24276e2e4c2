"""The names for authors of losses, transforms, models and readers."""

import ast
import re
import textwrap

import pytest
import torch

from segtransfer import extend
from tests.conftest import ROOT

NAMES = """
    ADAPTERS AdapterSpec AnyPath DEFENCES DefenceSpec METRICS Score READERS ReaderSpec
    DataItem Dataset Flag Frozen GRADIENTS Gradient GradientRule GradientStep
    IGNORE_INDEX InputError LOSSES Loss LossContext
    ModelInfo Number PRESETS Preparation Preset Segmenter StepRandom TRANSFORMS TransformContext
    TransformSpec View Whole align
    fooled freeze keeps_memory mean_labelled palette_for prepared_by read_image read_index_map
    reads_features resize same snap straight_through then window
"""


def test_the_list_of_names_changes_only_on_purpose() -> None:
    assert sorted(extend.__all__) == sorted(NAMES.split())
    assert all(hasattr(extend, name) for name in extend.__all__)


def test_the_docstring_names_every_name() -> None:
    documentation = extend.__doc__ or ""
    assert [name for name in extend.__all__ if f"``{name}``" not in documentation] == []


def test_loss_of_the_docstring_equals_the_shipped_loss() -> None:
    (code,) = re.findall(r"(    # my_losses.py\n.*?)\n\S", extend.__doc__ or "", flags=re.DOTALL)
    module: dict[str, object] = {}
    exec(textwrap.dedent(code), module)
    logits, labels = torch.randn(2, 3, 4, 5), torch.randint(3, (2, 4, 5))
    labels[0, 1:3] = extend.IGNORE_INDEX
    context = extend.LossContext(0, 10)
    written = module["cross_entropy"](logits, labels, context)  # type: ignore[operator]
    assert torch.equal(written, extend.LOSSES["cross-entropy"](logits, labels, context))


@pytest.mark.parametrize("page", ["how-to/loss.md", "tutorials/own-parts.md"])
def test_loss_of_a_page_imports_from_extend_alone(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    (code,) = re.findall(r"```python\n(# my_losses.*?)```", text, flags=re.DOTALL)
    imports = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom)]
    assert [node.module for node in imports] == ["segtransfer.extend"]
    assert {alias.name for node in imports for alias in node.names} <= set(extend.__all__)
