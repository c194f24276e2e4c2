"""Random translations: reach, direction, and labels and logits that follow."""

import pytest
import torch

from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.attacks.transforms import views
from segtransfer.tasks.attacks.transforms.views import View
from tests.tasks.attacks.specs import step_context

IMAGES = torch.arange(2 * 3 * 10 * 20).reshape(2, 3, 10, 20) / 2000 + 0.1


def shifted(step: int, reach: float = 0.25) -> View:
    transforms = [{"shift": {"reach": reach}}]
    chain = AttackSpec.model_validate({"name": "a", "transforms": transforms}).transforms
    (view,) = views(IMAGES, chain, step_context(IMAGES, step=step))
    return view


def offset_of(view: View) -> tuple[int, int]:
    """Return the place of the image's pixels on the canvas, from a map of pixel numbers."""
    numbers = torch.arange(200).reshape(1, 10, 20) % 250
    moved = view.labels(numbers)[0]
    row, column = (moved != 255).nonzero()[0].tolist()
    origin = int(moved[row, column])
    return row - origin // 20, column - origin % 20


def test_shifts_reach_both_directions_and_no_further() -> None:
    found = [offset_of(shifted(step)) for step in range(60)]
    downs, rights = {down for down, _ in found}, {right for _, right in found}
    # A quarter of 10 rows is 2.5, which rounds to 2; a quarter of 20 columns is 5.
    assert (min(downs), max(downs)) == (-2, 2)
    assert (min(rights), max(rights)) == (-5, 5)


@pytest.mark.parametrize("step", range(8))
def test_images_labels_and_logits_move_by_the_same_pixels(step: int) -> None:
    view = shifted(step)
    down, right = offset_of(view)
    rows, columns = slice(max(down, 0), 10 + min(down, 0)), slice(max(right, 0), 20 + min(right, 0))
    from_rows = slice(max(-down, 0), 10 - max(down, 0))
    from_columns = slice(max(-right, 0), 20 - max(right, 0))
    assert torch.equal(view.images[..., rows, columns], IMAGES[..., from_rows, from_columns])
    outside = torch.ones(10, 20, dtype=torch.bool)
    outside[rows, columns] = False
    assert (view.images[..., outside] == 0).all()
    assert (view.labels(torch.zeros(2, 10, 20, dtype=torch.long))[:, outside] == 255).all()
    back = view.logits(view.images)
    assert torch.equal(back[..., from_rows, from_columns], IMAGES[..., from_rows, from_columns])


def test_shift_that_leaves_the_place_is_whole() -> None:
    assert all(shifted(step, reach=0.01).whole for step in range(5))
    assert not all(shifted(step).whole for step in range(5))
