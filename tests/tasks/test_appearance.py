"""Structural similarity and the radial spectrum, against closed forms and a plain loop."""

import numpy as np
import pytest

from segtransfer.tasks.appearance import BANDS, SAMPLED, appearance, spectrum, ssim


def pictures(count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, height, width), np.uint8)


def test_structural_similarity_of_equal_images_is_one() -> None:
    image = np.random.default_rng(0).integers(0, 256, (2, 3, 20, 24), np.uint8)
    assert ssim(image, image) == pytest.approx([1.0, 1.0])


def test_structural_similarity_of_flat_images_compares_their_levels_alone() -> None:
    dark, bright = (np.full((1, 3, 16, 16), level, np.uint8) for level in (100, 120))
    c1 = (0.01 * 255) ** 2
    expected = (2 * 100 * 120 + c1) / (100**2 + 120**2 + c1)
    assert ssim(bright, dark) == pytest.approx([expected])


def test_structural_similarity_of_an_image_and_its_negative_is_negative() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 3, 32, 32), np.uint8)
    assert ssim(255 - image, image)[0] < -0.5


def test_structural_similarity_takes_images_smaller_than_its_window() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 3, 6, 9), np.uint8)
    assert ssim(image, image) == pytest.approx([1.0])


def test_structural_similarity_is_the_mean_of_its_formula_over_windows() -> None:
    clean = pictures(1, 14, 15)
    noise = np.random.default_rng(1).integers(-20, 21, clean.shape)
    made = np.clip(clean + noise, 0, 255).astype(np.uint8)
    grid = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(grid, grid) / grid.sum() ** 2
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for channel in range(3):
        for top in range(4):
            for left in range(5):
                place = (0, channel, slice(top, top + 11), slice(left, left + 11))
                x, y = made[place].astype(float), clean[place].astype(float)
                mx, my = (window * x).sum(), (window * y).sum()
                sx, sy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
                sxy = (window * (x - mx) * (y - my)).sum()
                values.append(
                    (2 * mx * my + c1) * (2 * sxy + c2) / ((mx**2 + my**2 + c1) * (sx + sy + c2))
                )
    assert ssim(made, clean) == pytest.approx([np.mean(values)], rel=1e-10)


@pytest.mark.parametrize("size", [(24, 32), (25, 33), (7, 64)])
def test_bands_sum_to_the_mean_square(size: tuple[int, int]) -> None:
    made, clean = pictures(3, *size), pictures(3, *size, seed=1)
    square = ((made.astype(float) - clean) ** 2).mean((1, 2, 3))
    found = spectrum(made, clean)
    assert found.shape == (3, BANDS)
    assert (found >= 0).all()
    assert found.sum(1) == pytest.approx(square)


@pytest.mark.parametrize(
    ("rows", "columns", "band"),
    [(0, 0, 0), (0, 1, 0), (0, 3, 1), (4, 0, 2), (6, 8, 5), (0, 31, 15), (0, 32, 16), (32, 32, 16)],
)
def test_sinusoid_is_in_the_band_of_its_frequency(rows: int, columns: int, band: int) -> None:
    i, j = np.mgrid[:64, :64]
    wave = np.round(40 * np.cos(2 * np.pi * (rows * i + columns * j) / 64)).astype(int)
    clean = np.full((1, 3, 64, 64), 128, np.uint8)
    found = spectrum((clean + wave).astype(np.uint8), clean)[0]
    square = (wave**2).mean()
    assert found[band] == pytest.approx(square, rel=0.01)  # but for the rounding to 8 bits
    assert found.sum() == pytest.approx(square)


def test_white_noise_has_power_by_the_area_of_bands() -> None:
    generator = np.random.default_rng(0)
    clean = np.full((1, 3, 256, 256), 128, np.uint8)
    noise = generator.integers(-8, 9, clean.shape)
    found = spectrum((clean + noise).astype(np.uint8), clean)[0]
    inner = np.array([np.pi * ((i + 1) ** 2 - i**2) / 32**2 for i in range(16)])
    share = found / found.sum()
    np.testing.assert_allclose(share[4:16], inner[4:], rtol=0.1)
    assert share[16] == pytest.approx(1 - np.pi / 4, rel=0.05)


def test_first_images_alone_are_sampled() -> None:
    made, clean = pictures(5, 16, 16), pictures(5, 16, 16, seed=1)
    found = appearance(made, clean)
    assert found == appearance(made[:SAMPLED], clean[:SAMPLED])
    assert found["ssim"] == ssim(made, clean)[:SAMPLED].tolist()
    assert np.shape(found["spectrum"]) == (SAMPLED, BANDS)
    assert np.shape(appearance(made[:1], clean[:1])["spectrum"]) == (1, BANDS)
