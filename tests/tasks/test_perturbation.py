from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.perturbation import (
    STATISTICS,
    as_score,
    inside,
    levels,
    quantise,
    statistics,
)
from tests.tasks.attacks.specs import FORMS
from tests.tasks.cases import ids, pictures, spec


def ball(eps: Any, norm: str = "linf", **fields: Any) -> AttackSpec:
    return spec("pgd", eps=eps, norm=norm, **fields)


def rms(made: np.ndarray, clean: np.ndarray) -> np.ndarray:
    return np.sqrt(((made.astype(float) - clean) ** 2).mean((1, 2, 3)))


@pytest.mark.parametrize(
    ("eps", "bound"), [(8 / 255, 8), (0.03, 7), (7.99 / 255, 7), (1 / 255, 1), (0.0, 0), (1.0, 255)]
)
def test_the_integer_bound_is_the_largest_whole_number_of_levels(eps: float, bound: int) -> None:
    assert levels(eps) == bound


def test_every_whole_number_of_levels_survives_float_arithmetic() -> None:
    assert [levels(k / 255) for k in range(256)] == list(range(256))


def test_values_are_rounded_not_truncated() -> None:
    clean = np.full((1, 3, 1, 2), 100, np.uint8)
    raw = torch.tensor([101.6, 98.4]).expand(1, 3, 1, 2) / 255
    assert quantise(raw, clean, ball(8 / 255))[0, 0, 0].tolist() == [102, 98]


@pytest.mark.parametrize("eps", [0.03, 2 / 255, 0.001, 0.05, 7.5 / 255])
def test_eight_bit_examples_never_leave_the_integer_ball(eps: float) -> None:
    generator = np.random.default_rng(0)
    clean = generator.integers(0, 256, (4, 3, 9, 11), np.uint8)
    signs = torch.tensor(generator.choice([-1.0, 1.0], clean.shape)).float()
    extreme = (torch.tensor(clean).float() / 255 + eps * signs).clamp(0, 1)
    stored = quantise(extreme, clean, ball(eps))
    assert stored.dtype == np.uint8
    assert np.abs(stored.astype(int) - clean).max() == int(np.floor(eps * 255 + 1e-6))


def test_unchanged_image_is_returned_unchanged() -> None:
    clean = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 3, 16, 16)
    for norm in ("linf", "l2"):
        for eps in (0.0, 0.03):
            stored = quantise(torch.tensor(clean).float() / 255, clean, ball(eps, norm))
            assert np.array_equal(stored, clean)


def test_statistics_of_a_perturbation_by_hand() -> None:
    clean = np.full((2, 3, 2, 2), 100, np.uint8)
    adversarial = clean.copy()
    adversarial[0, 0] += 8
    adversarial[0, 1] -= 4
    found = statistics(adversarial, clean, 8 / 255)
    assert set(found) == set(STATISTICS)
    rms = ((64 + 16 + 0) / 3) ** 0.5
    assert found["linf"] == [8, 0]
    assert found["rms"] == pytest.approx([rms, 0])
    assert found["mean_abs"] == pytest.approx([4 / 8, 0])
    assert found["at_bound"] == pytest.approx([1 / 3, 0])
    assert found["psnr"][0] == pytest.approx(20 * np.log10(255 / rms))
    assert found["psnr"][1] == np.inf


def test_with_eps_zero_nothing_is_at_the_bound() -> None:
    clean = np.zeros((1, 3, 4, 4), np.uint8)
    found = statistics(clean, clean, 0.0)
    assert found["at_bound"] == [0]
    assert found["mean_abs"] == [0]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.001, 0.004, 0.01, 0.03, 8 / 255, 0.1]))
def test_eight_bit_examples_never_leave_the_l2_ball(seed: int, eps: float) -> None:
    """And are no nearer to the image than rounding makes them: of floats at RMS eps exactly what is
    stored lies within half a level of it."""
    generator = np.random.default_rng(seed)
    clean = generator.integers(118, 138, (3, 3, 7, 9), np.uint8)
    noise = torch.tensor(generator.standard_normal(clean.shape)).float()
    noise = noise / noise.square().mean((1, 2, 3), keepdim=True).sqrt()
    exact = (torch.tensor(clean).float() / 255 + eps * noise).clamp(0, 1)
    stored = quantise(exact, clean, ball(eps, "l2"))
    assert stored.dtype == np.uint8
    assert rms(stored, clean).max() <= eps * 255 + 1e-6
    # Each value is the float's, rounded down or up.
    assert np.abs(stored / 255 - exact.numpy()).max() <= 1.001 / 255
    if eps * 255 > 2:
        assert rms(stored, clean).min() > 0.98 * eps * 255


def test_l2_rounding_moves_as_few_values_as_it_takes() -> None:
    """Ten values at 1.6 levels: all rounded up the RMS is 2; four at 1 hold that of 1.7."""
    clean = np.full((1, 1, 1, 10), 100, np.uint8)
    exact = torch.full((1, 1, 1, 10), 101.6) / 255
    stored = quantise(exact, clean, ball(1.7 / 255, "l2"))
    assert sorted(stored.ravel().tolist()) == [101] * 4 + [102] * 6
    assert rms(stored, clean)[0] <= 1.7


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_an_example_inside_the_ball_is_only_rounded(norm: str) -> None:
    clean = pictures(2, 6, 7)
    exact = (torch.tensor(clean).float() / 255 + 0.01 * torch.randn(clean.shape)).clamp(0, 1)
    stored = quantise(exact, clean, ball(0.5, norm))
    assert np.array_equal(stored, (exact * 255).round().numpy().astype(np.uint8))


def test_inside_by_norm() -> None:
    found = {"linf": [3.0, 9.0], "rms": [2.0, 7.5]}
    assert not inside(found, ball("8/255"))
    assert inside(found, ball("9/255"))
    assert inside(found, ball("8/255", "l2"))
    assert not inside(found, ball("7/255", "l2"))


def iterate(share: float = 0.7, seed: int = 0) -> tuple[torch.Tensor, np.ndarray, torch.Tensor]:
    """A clean image, and one that moved at a share of the values by up to 8 levels."""
    generator = torch.Generator().manual_seed(seed)
    clean = pictures(3, 16, 20)
    exact = torch.tensor(clean).float() / 255
    noise = torch.rand(clean.shape, generator=generator) * 2 - 1
    noise = noise * (torch.rand(clean.shape, generator=generator) < share)
    return exact, clean, (exact + 8 / 255 * noise).clamp(0, 1)


def test_raw_is_the_iterate() -> None:
    exact, _, x = iterate()
    assert as_score(x, exact, ball("8/255"), "raw", ids(len(x))) is x


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_eps_sign_moves_changed_values_to_the_bound(norm: str) -> None:
    exact, clean, x = iterate()
    rule = ball("8/255", norm)
    pushed = as_score(x, exact, rule, "eps*sign", ids(len(x)))
    direction = torch.sign(x - exact) * ((x - exact).abs() > 1e-7)
    assert torch.equal(pushed, (exact + rule.eps * direction).clamp(0, 1))
    stored = quantise(pushed, clean, rule).astype(int)
    still = (direction == 0).numpy()
    assert (stored[still] == clean[still]).all()
    free = ~still & (clean >= 8) & (clean <= 247)
    assert (np.abs(stored - clean)[free] == 8).all()


@pytest.mark.parametrize("rounds", [1, 10, 50])
def test_float_noise_around_an_unchanged_value_is_no_direction(rounds: int) -> None:
    """Steps there and back again leave a rounding of each of them behind."""
    exact, clean, _ = iterate()
    noisy = exact.clone()
    for _ in range(rounds):
        noisy = noisy + 2 / 255
        noisy = noisy - 2 / 255
        noisy = noisy - 0.01
        noisy = noisy + 0.01
    for score in FORMS[1:]:
        stored = quantise(
            as_score(noisy, exact, ball("8/255"), score, ids(len(noisy))), clean, ball("8/255")
        )
        assert np.array_equal(stored, clean), score


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("wanted", [0.25, 0.5, 0.75])
def test_equal_rms_reaches_its_root_mean_square(wanted: float, norm: str) -> None:
    """In float to a thousandth, in 8 bit to a twentieth of a level, and never outside the ball."""
    exact, clean, x = iterate()
    rule = ball("8/255", norm, equal_rms=wanted)
    scaled = as_score(x, exact, rule, "equal-rms", ids(len(x)))
    reached = (scaled - exact).square().mean((1, 2, 3)).sqrt()
    assert torch.allclose(reached, torch.tensor(wanted * rule.eps), rtol=1e-3)
    stored = quantise(scaled, clean, rule)
    assert rms(stored, clean) == pytest.approx(8 * wanted, abs=0.06)
    if norm == "linf":
        assert np.abs(stored.astype(int) - clean).max() <= 8
    # Scaled, not turned.
    assert ((scaled - exact) * (x - exact) >= -1e-9).all()


def test_unreachable_equal_rms_is_the_largest_in_the_ball() -> None:
    """With a share of 0.3 of the values moved the largest root mean square is sqrt(0.3) eps."""
    exact, _, x = iterate(share=0.3)
    rule = ball("8/255", equal_rms=0.9)
    scaled = as_score(x, exact, rule, "equal-rms", ids(len(x)))
    assert (scaled - exact).abs().max() <= 8 / 255 + 1e-6
    pushed = as_score(x, exact, rule, "eps*sign", ids(len(x)))
    most = (pushed - exact).square().mean((1, 2, 3)).sqrt()
    assert torch.allclose((scaled - exact).square().mean((1, 2, 3)).sqrt(), most, rtol=0.02)


@pytest.mark.parametrize("score", FORMS)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_an_unchanged_image_stays_unchanged_whatever_the_score(norm: str, score: str) -> None:
    exact, clean, _ = iterate()
    rule = ball("8/255", norm)
    assert np.array_equal(
        quantise(as_score(exact, exact, rule, score, ids(len(exact))), clean, rule), clean
    )


def seen_rms(stored: np.ndarray, clean: np.ndarray, scale: float) -> np.ndarray:
    """The root mean square of a perturbation after a bilinear resize, in levels."""
    change = torch.tensor(stored.astype(float) - clean)
    size = [round(side * scale) for side in clean.shape[-2:]]
    seen = F.interpolate(change, size=size, mode="bilinear", align_corners=False)
    return seen.square().mean((1, 2, 3)).sqrt().numpy()


def checkerboard(height: int, width: int, pixels: int = 1) -> torch.Tensor:
    """Float 1 x 3 x H x W of +1 and -1 in squares of some pixels."""
    rows, columns = np.indices((height, width)) // pixels
    return torch.tensor(1.0 - 2 * ((rows + columns) % 2)).float().expand(1, 3, height, width)


def stored_as(score: str, change: torch.Tensor, rule: AttackSpec) -> tuple[np.ndarray, np.ndarray]:
    """A change of grey images, scored; and the grey images."""
    clean = np.full(change.shape, 128, np.uint8)
    exact = torch.tensor(clean).float() / 255
    scored = as_score(exact + change, exact, rule, score, ids(len(change)))
    return quantise(scored, clean, rule), clean


@pytest.mark.parametrize("scale", [0.25, 0.5, 0.75, 1.3, 4.0])
def test_constant_perturbation_keeps_its_rms_through_any_resize(scale: float) -> None:
    """So ``equal-rms@SCALE`` has the RMS of ``equal-rms`` at native resolution, too."""
    rule = ball("8/255", equal_rms=0.5)
    change = torch.full((2, 3, 16, 24), 1 / 255)
    at_scale, clean = stored_as(f"equal-rms@{scale:g}", change, rule)
    native, _ = stored_as("equal-rms", change, rule)
    assert rms(native, clean) == pytest.approx(4, abs=0.01)
    assert rms(at_scale, clean) == pytest.approx(4, abs=0.05)
    assert seen_rms(at_scale, clean, scale) == pytest.approx(4, abs=0.01)


def test_checkerboard_of_pixels_is_lost_to_a_resize_by_half_and_gets_the_largest_factor() -> None:
    """Every pixel of the half is the mean of two +1 and two -1, so no factor restores the RMS."""
    stored, clean = stored_as("equal-rms@0.5", checkerboard(16, 24) / 255, ball("8/255"))
    assert (np.abs(stored.astype(int) - clean) == 8).all()
    assert seen_rms(stored, clean, 0.5) == pytest.approx(0, abs=1e-6)


def test_white_noise_gets_twice_the_rms_before_a_resize_by_half() -> None:
    """The mean of four independent values has half of their RMS."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand((2, 3, 64, 96), generator=generator) * 2 - 1
    rule = ball("16/255", equal_rms=0.25)
    stored, clean = stored_as("equal-rms@0.5", noise / 255, rule)
    assert seen_rms(stored, clean, 0.5) == pytest.approx(4, abs=0.01)
    assert rms(stored, clean) == pytest.approx(8, rel=0.05)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("scale", [0.5, 0.75, 1.25, 1.5])
def test_rms_after_the_resize_is_the_aim_within_rounding(scale: float, norm: str) -> None:
    """On images with values at both ends of the box; the direction of each change is kept."""
    exact, clean, x = iterate()
    rule = ball("8/255", norm, equal_rms=0.25)
    scored = as_score(x, exact, rule, f"equal-rms@{scale}", ids(len(x)))
    stored = quantise(scored, clean, rule)
    assert seen_rms(stored, clean, scale) == pytest.approx(2, abs=0.06)
    assert rms(stored, clean).min() > 2.2
    assert ((scored - exact) * (x - exact) >= -1e-9).all()


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from([0.001, 0.01, 0.03, 0.1]),
    st.sampled_from(["linf", "l2"]),
    st.sampled_from(FORMS[2:]),
)
def test_scaled_forms_of_any_wanted_rms_stay_in_the_ball(
    seed: int, eps: float, norm: str, score: str
) -> None:
    """Also if the RMS that a resize takes lies outside the ball."""
    generator = np.random.default_rng(seed)
    clean = generator.integers(0, 256, (2, 3, 9, 12), np.uint8)
    exact = torch.tensor(clean).float() / 255
    x = (exact + eps * torch.tensor(generator.standard_normal(clean.shape)).float()).clamp(0, 1)
    rule = ball(eps, norm, equal_rms=1)
    scored = as_score(x, exact, rule, score, ids(2))
    stored = quantise(scored, clean, rule)
    assert scored.min() >= -1e-6
    assert scored.max() <= 1 + 1e-6
    assert inside(statistics(stored, clean, eps), rule)
    if norm == "l2":
        assert ((scored - exact).square().mean((1, 2, 3)).sqrt() <= eps + 1e-6).all()


@pytest.mark.parametrize("eps", ["4/255", "8/255"])
def test_smooth_perturbation_keeps_nine_tenths_of_its_rms_through_a_resize(eps: str) -> None:
    """Of random signs, from which a resize by half alone takes half."""
    generator = torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, (2, 3, 96, 128), generator=generator) * 2.0 - 1
    rule = ball(eps, equal_rms=0.35)
    wanted = 0.35 * rule.eps * 255
    for score, least, most in (("equal-rms", 0.45, 0.55), ("smooth", 0.9, 1)):
        stored, clean = stored_as(score, rule.eps * signs, rule)
        assert rms(stored, clean) == pytest.approx(wanted, abs=0.01)
        kept = seen_rms(stored, clean, 0.5) / rms(stored, clean)
        assert least < kept.min() <= kept.max() < most
        for scale in (0.75, 1.25, 1.5):
            assert (seen_rms(stored, clean, scale) > 0.9 * wanted).all() == (score == "smooth")


def test_smooth_of_a_single_pixel_is_a_gaussian_of_four_thirds_pixels() -> None:
    change = torch.zeros(1, 3, 21, 21)
    change[:, :, 10, 10] = 1 / 255
    rule = ball(0.5, equal_rms=0.05)  # 6 levels over the image, 56 at the peak
    stored, clean = stored_as("smooth", change, rule)
    moved = stored.astype(int) - clean
    assert (moved[:, :, :6] == 0).all()  # the kernel has 9 x 9 pixels
    assert (moved[:, :, 15:] == 0).all()
    peak = moved[0, 0, 10, 10]
    for distance in (1, 2, 3):
        expected = peak * np.exp(-(distance**2) / 2 / (4 / 3) ** 2)
        assert moved[0, 0, 10, 10 + distance] == pytest.approx(expected, abs=1)
