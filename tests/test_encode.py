"""Pixels to bytes and back: what is decoded is what was drawn, and what is said about it is true."""

import io
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from consumer import encode

Pixels = NDArray[np.uint8]


def noise(*shape: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)


def film(frames: int, height: int, width: int) -> Pixels:
    """A soft gradient that gets brighter: what a video codec keeps well."""
    rows, columns = np.mgrid[0:height, 0:width]
    frame = np.stack([40 + rows * 100 / height, 40 + columns * 100 / width, np.full((height, width), 90)], -1)
    return np.stack([frame + 60 * number / frames for number in range(frames)]).astype(np.uint8)


def decoded(data: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(data)))


def frames_of(data: bytes) -> list[av.VideoFrame]:
    with av.open(io.BytesIO(data)) as container:
        return list(container.decode(video=0))


@pytest.fixture(params=["isal", "Pillow"])
def png(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[Pixels], encode.Encoded]:
    if request.param == "isal":
        pytest.importorskip("isal", reason="isal has no wheel for this machine")
    else:
        monkeypatch.setattr(encode, "isal_zlib", None)
    return encode.png


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (37, 53), (256, 256)])
def test_a_png_decodes_to_the_very_pixels(png, shape):
    pixels = noise(*shape)
    made = png(pixels)
    assert np.array_equal(decoded(made.data), pixels)
    assert (made.height, made.width) == shape
    assert (made.content_type, made.extension, made.format) == ("image/png", "png", "png")
    assert (made.duration_seconds, made.frames) == (None, 1)


@pytest.mark.parametrize("view", [np.s_[::2, ::3], np.s_[::-1, :], np.s_[:, :, ::-1]])
def test_a_png_of_a_view_holds_what_the_view_shows(png, view):
    pixels = noise(40, 60)[view]
    assert np.array_equal(decoded(png(pixels).data), pixels)


def test_a_png_has_no_damaged_chunk(png):
    with Image.open(io.BytesIO(png(noise(20, 30)).data)) as image:
        assert image.mode == "RGB"
        image.verify()


@pytest.mark.parametrize(
    ("height", "width", "small"),
    [
        (1024, 1024, (256, 256)),
        (576, 1024, (144, 256)),
        (832, 480, (256, 148)),
        (256, 256, (256, 256)),
        (64, 48, (64, 48)),
    ],
)
def test_a_thumbnail_has_at_most_256_px_on_its_longest_edge(height, width, small):
    made = encode.thumbnail(noise(height, width))
    assert (made.height, made.width) == small == decoded(made.data).shape[:2]
    assert (made.content_type, made.extension) == ("image/webp", "webp")
    assert Image.open(io.BytesIO(made.data)).format == "WEBP"


@pytest.mark.parametrize(("frames", "middle"), [(1, 0), (5, 2), (6, 3)])
def test_the_thumbnail_of_a_video_is_its_middle_frame(frames, middle):
    pixels = np.zeros((frames, 32, 32, 3), np.uint8)
    pixels[middle] = 255
    assert decoded(encode.thumbnail(pixels).data).min() > 250


@pytest.mark.parametrize("frames", [1, 5, 81, 700])
def test_an_mp4_says_how_many_frames_it_has_and_how_long_it_lasts(frames):
    made = encode.mp4(film(frames, 32, 48), 16)
    assert len(frames_of(made.data)) == frames == made.frames
    milliseconds_of_the_format = 1e-3
    assert made.duration_seconds == pytest.approx(frames / 16, abs=milliseconds_of_the_format)
    assert (made.width, made.height) == (48, 32)
    assert (made.content_type, made.extension, made.format) == ("video/mp4", "mp4", "mp4")


@pytest.mark.parametrize("fps", [1, 12.5, 23.976, 29.97, 60])
def test_an_mp4_lasts_as_long_as_its_frames_per_second_say(fps):
    assert encode.mp4(film(10, 16, 16), fps).duration_seconds == pytest.approx(10 / fps, rel=1e-3)


@pytest.mark.parametrize("frames", [1, 5, 700])
def test_a_player_finds_the_index_of_an_mp4_before_its_frames(frames):
    data, names, place = encode.mp4(film(frames, 32, 32), 16).data, [], 0
    while place < len(data):
        size, name = struct.unpack(">I4s", data[place : place + 8])
        names.append(name)
        place += size
    assert names.index(b"moov") < names.index(b"mdat")


@pytest.mark.parametrize(("height", "width", "kept"), [(33, 48, (32, 48)), (32, 49, (32, 48)), (35, 37, (34, 36))])
def test_an_odd_row_or_column_of_a_video_is_cropped(height, width, kept):
    made = encode.mp4(film(3, height, width), 16)
    assert (made.height, made.width) == kept
    assert [(frame.height, frame.width) for frame in frames_of(made.data)] == [kept] * 3


def shown(data: bytes) -> NDArray[np.int64]:
    """What a player that knows BT.709 shows, (frames, height, width, 3)."""
    frames = [frame.to_ndarray(format="rgb24", src_colorspace="ITU709") for frame in frames_of(data)]
    return np.stack(frames).astype(int)


def test_an_mp4_shows_the_pictures_it_was_made_of():
    pixels = film(9, 64, 96)
    assert abs(shown(encode.mp4(pixels, 16).data) - pixels).mean() < 3


@pytest.mark.parametrize("colour", [(200, 40, 30), (30, 200, 40), (20, 30, 220), (224, 172, 140)])
def test_an_mp4_keeps_strong_colours(colour):
    pixels = np.full((3, 32, 32, 3), colour, np.uint8)
    assert abs(shown(encode.mp4(pixels, 16).data) - pixels).max() <= 4


def test_an_mp4_says_in_which_colours_it_is_to_be_shown():
    limited, bt709 = 1, 1
    data = encode.mp4(film(3, 32, 32), 16).data
    with av.open(io.BytesIO(data)) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (context.color_range, context.colorspace, context.color_primaries, context.color_trc) == (
            limited,
            bt709,
            bt709,
            bt709,
        )
    # Some players ask the frames, and some the file around them: primaries, transfer, matrix, and a bit for the range.
    assert [(frame.color_range, frame.colorspace) for frame in frames_of(data)] == [(limited, bt709)] * 3
    assert data.count(b"colrnclx" + struct.pack(">HHHB", bt709, bt709, bt709, 0)) == 1


@pytest.mark.parametrize("colour", [(200, 40, 30), (30, 200, 40), (20, 30, 220)])
def test_a_player_that_heeds_what_an_mp4_says_shows_its_colours(colour):
    pixels = np.full((3, 32, 32, 3), colour, np.uint8)
    for frame in frames_of(encode.mp4(pixels, 16).data):
        told = frame.to_ndarray(format="rgb24", src_colorspace=int(frame.colorspace))
        assert abs(told.astype(int) - pixels[0]).max() <= 4


def test_three_dimensions_are_a_picture_and_four_are_a_video():
    assert encode.encode(noise(8, 8)).extension == "png"
    assert encode.encode(noise(3, 8, 8), 16).extension == "mp4"


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((0, 8, 3), np.uint8),
        np.zeros((0, 8, 8, 3), np.uint8),
        np.zeros((1, 2, 8, 8, 3), np.uint8),
    ],
    ids=lambda pixels: f"{pixels.dtype}{pixels.shape}",
)
def test_pixels_of_another_shape_or_type_are_refused_by_name(pixels):
    with pytest.raises(ValueError, match="must be uint8 of shape"):
        encode.encode(pixels, 16)
    with pytest.raises(ValueError, match="must be uint8 of shape"):
        encode.thumbnail(pixels)


@pytest.mark.parametrize("fps", [None, 0, -1, float("nan")])
def test_a_video_without_a_rate_is_refused(fps):
    with pytest.raises(ValueError, match="frames per second"):
        encode.encode(film(2, 8, 8), fps)


@pytest.mark.parametrize("make", [encode.png, encode.thumbnail, lambda pixels: encode.mp4(pixels[None], 16)])
def test_many_threads_make_the_same_bytes_as_one_and_leave_the_pixels_alone(make):
    pictures = [noise(90, 120) ^ np.uint8(number) for number in range(12)]
    for pixels in pictures:
        pixels.flags.writeable = False
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(make, pictures)) == [make(pixels) for pixels in pictures]
