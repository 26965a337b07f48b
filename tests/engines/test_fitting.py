"""References made to fit: cropped in the middle, never stretched."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.engines.fitting import fit, size_like

# A resized edge swings over by a few of 255 on either side.
RINGING = 8
SIDES = st.integers(1, 5000)


def bands(*colours: int, width: int, height: int):
    """uint8 (height, width, 3): upright bands of these greys, of the same breadth."""
    row = np.repeat(np.array(colours, np.uint8), width // len(colours))
    return np.tile(row[None, :, None], (height, 1, 3))


def test_what_is_left_and_right_of_the_middle_is_cut_off_from_a_picture_that_is_too_wide():
    fitted = np.asarray(fit(bands(0, 100, 200, width=300, height=100), 64, 64))
    assert fitted.shape == (64, 64, 3)
    assert abs(fitted.astype(int) - 100).max() <= RINGING


def test_what_is_above_and_below_the_middle_is_cut_off_from_a_picture_that_is_too_high():
    upright = bands(0, 100, 200, width=300, height=100).transpose(1, 0, 2).copy()
    fitted = np.asarray(fit(upright, 80, 80))
    assert abs(fitted.astype(int) - 100).max() <= RINGING


def test_nothing_is_cut_off_where_the_aspect_is_the_same():
    fitted = np.asarray(fit(bands(0, 100, 200, width=300, height=150), 600, 300))
    assert [fitted[150, across, 0] for across in (0, 100, 300, 500, 599)] == [0, 0, 100, 200, 200]


@pytest.mark.parametrize(("width", "height"), [(64, 64), (128, 64), (64, 128), (200, 320)])
def test_a_disc_stays_a_disc(width, height):
    down, across = np.mgrid[:300, :400]
    disc = np.hypot(across - 199.5, down - 149.5) < 70
    fitted = np.asarray(fit(np.where(disc, 255, 0).astype(np.uint8)[:, :, None].repeat(3, axis=2), width, height))
    inside = fitted[:, :, 0] > 127
    wide, high = inside.any(axis=0).sum(), inside.any(axis=1).sum()
    assert wide == pytest.approx(high, abs=1)
    assert wide == pytest.approx(140 * max(width / 400, height / 300), abs=2)


def test_the_result_is_rgb_and_the_pixels_themselves_where_they_fit_already():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 72, 3), np.uint8)
    fitted = fit(pixels, 72, 64)
    assert fitted.mode == "RGB"
    assert np.array_equal(np.asarray(fitted), pixels)


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (900, 1)])
def test_a_picture_of_one_row_or_column_fits_too(shape):
    assert fit(np.zeros((*shape, 3), np.uint8), 64, 128).size == (64, 128)


@given(SIDES, SIDES, st.integers(64, 2048), st.integers(64, 2048), st.sampled_from([8, 16, 32]))
def test_the_sides_are_multiples_within_the_limits(across, down, width, height, multiple):
    # One stride of 0 makes a picture of any size out of one pixel.
    pixels = np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (down, across, 3))
    wide, high = size_like(pixels, width, height, multiple)
    assert wide % multiple == high % multiple == 0
    assert 64 <= wide <= 2048
    assert 64 <= high <= 2048
    if max(across, down) <= 4 * min(across, down) and 256 <= (width * height) ** 0.5 <= 1024:
        # Each side is rounded by half a multiple at most, and is never shorter than 128 here.
        off = multiple / 2
        assert abs(wide / high - across / down) <= across / down * (off / wide + off / high) * 1.5
        assert wide * high == pytest.approx(width * height, rel=off / wide + off / high + 0.02)


@pytest.mark.parametrize(
    ("across", "down", "size"),
    [
        (1024, 1024, (1024, 1024)),
        (500, 500, (1024, 1024)),
        # 1024 * 1024 pixels at 16:9 are 1365.3 x 768.
        (1920, 1080, (1368, 768)),
        (1080, 1920, (768, 1368)),
        # Too long: 2048 is the most, and 64 the least, which is wider than the reference.
        (4000, 100, (2048, 64)),
    ],
)
def test_a_size_has_the_aspect_of_the_reference_and_the_usual_number_of_pixels(across, down, size):
    assert size_like(np.zeros((down, across, 3), np.uint8), 1024, 1024, 8) == size


def test_the_most_is_kept():
    assert size_like(np.zeros((10, 40, 3), np.uint8), 1024, 1024, 16, most=1280) == (1280, 320)
