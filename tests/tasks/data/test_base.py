import numpy as np
import pytest

from segtransfer.tasks.data.base import fit_to, palette_for


def ramp(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """An image whose red is its row and green its column, and labels by quadrant."""
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([rows, columns, np.zeros_like(rows)], -1).astype(np.uint8)
    label = (rows >= height / 2) * 2 + (columns >= width / 2)
    return image, label.astype(np.uint8)


@pytest.mark.parametrize("fit", ["resize", "crop", "pad"])
def test_native_size_is_unchanged(fit: str) -> None:
    image, label = ramp(20, 30)
    fitted = fit_to(image, label, (20, 30), fit)
    assert np.array_equal(fitted[0], image)
    assert np.array_equal(fitted[1], label)


def test_resize_keeps_the_whole_image_whatever_its_aspect() -> None:
    image, label = fit_to(*ramp(40, 60), (20, 60), "resize")
    assert image.shape == (20, 60, 3)
    assert np.abs(image[:, 0, 0] - (2 * np.arange(20) + 0.5)).max() <= 1
    assert np.array_equal(image[0, :, 1], np.arange(60))
    assert label.tolist() == ramp(20, 60)[1].tolist()


def test_crop_covers_the_grid_and_cuts_the_centre() -> None:
    image, label = fit_to(*ramp(20, 40), (20, 20), "crop")
    assert np.array_equal(image[0, :, 1], np.arange(10, 30))
    assert np.array_equal(image[:, 0, 0], np.arange(20))
    assert label.tolist() == ramp(20, 20)[1].tolist()
    scaled, _ = fit_to(*ramp(40, 80), (20, 20), "crop")
    assert scaled[10, :, 1].tolist() == pytest.approx(np.arange(20.5, 60, 2), abs=1)


def test_pad_shows_the_whole_image_and_ignores_what_it_adds() -> None:
    image, label = fit_to(*ramp(20, 40), (30, 40), "pad")
    native = ramp(20, 40)
    assert np.array_equal(image[:20], native[0])
    assert np.array_equal(label[:20], native[1])
    assert (image[20:] == 0).all()
    assert (label[20:] == 255).all()
    _, halved = fit_to(*ramp(40, 40), (20, 30), "pad")
    assert (halved[:, 20:] == 255).all()
    assert halved[:, :20].tolist() == ramp(20, 20)[1].tolist()


@pytest.mark.parametrize("fit", ["resize", "crop", "pad"])
@pytest.mark.parametrize("size", [(16, 16), (17, 51), (64, 23), (33, 33)])
@pytest.mark.parametrize("native", [(20, 30), (31, 17), (16, 16), (99, 101)])
def test_every_fit_reaches_the_grid_and_invents_no_label(
    native: tuple[int, int], size: tuple[int, int], fit: str
) -> None:
    image, label = ramp(*native)
    label[:2] = 255
    fitted_image, fitted_label = fit_to(image, label, size, fit)
    assert fitted_image.shape == (*size, 3)
    assert fitted_label.shape == size
    assert set(np.unique(fitted_label)) <= {0, 1, 2, 3, 255}


def test_a_given_palette_is_kept_and_a_missing_one_has_a_colour_a_class() -> None:
    assert palette_for(2, [[1, 2, 3], [4, 5, 6]]) == ((1, 2, 3), (4, 5, 6))
    made = palette_for(40, [[1, 2, 3]])
    assert len(set(made)) == 40
    assert all(0 <= value <= 255 for colour in made for value in colour)
