"""How many frames a video has and how long it lasts, the frames that it is given, and those that come out."""

import io

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from consumer.encode import encode, thumbnail
from consumer.engines import wan_frames
from consumer.errors import RejectedError
from consumer.fields import MAX_FRAMES, read
from consumer.request import Reference
from consumer.sizes import frames
from tiny_sdxl import MARKS
from tiny_wans import ENDS, STARTS, draw, load_tiny, make_request, photo

pytestmark = MARKS


@pytest.fixture(scope="module")
def engine():
    return load_tiny()


@given(st.integers(1, MAX_FRAMES))
def test_frames_are_the_nearest_four_n_plus_one(wanted):
    made = frames(read({"num_frames": wanted}), read({}), 16.0)
    candidates = range(1, MAX_FRAMES + 4, 4)
    assert made in candidates
    assert abs(made - wanted) == min(abs(each - wanted) for each in candidates)


@given(st.floats(0.1, 60), st.floats(1, 60))
def test_a_duration_is_kept_as_nearly_as_four_n_plus_one_frames_allow(duration, fps):
    try:
        made = frames(read({"duration": duration}), read({"num_frames": 81}), fps)
    except RejectedError:
        assert duration * fps > MAX_FRAMES
        return
    assert made % 4 == 1
    assert abs(made / fps - duration) <= 2.5 / fps


@pytest.mark.parametrize(("duration", "fps", "made"), [(5, 16, 81), (3, 16, 49), (5, 24, 121), (5, 15, 73), (1, 8, 9)])
def test_the_usual_durations(duration, fps, made):
    assert frames(read({"duration": duration}), read({"num_frames": 81}), fps) == made


@pytest.mark.parametrize("count", [1, 5, 9, 17])
@pytest.mark.parametrize("fps", [8.0, 23.976])
def test_the_file_has_the_frames_and_the_duration_that_were_asked_for(engine, count, fps):
    output = draw(engine, num_frames=count, fps=fps, width=32, height=32, steps=1)[0]
    made = encode(output.pixels, output.fps)
    assert (made.extension, made.frames, made.width, made.height) == ("mp4", count, 32, 32)
    assert made.duration_seconds == pytest.approx(count / fps, abs=1e-3)
    with av.open(io.BytesIO(made.data)) as container:
        decoded = [frame.to_ndarray(format="rgb24", src_colorspace="ITU709") for frame in container.decode(video=0)]
    assert len(decoded) == count
    for number, frame in enumerate(output.pixels.astype(int)):
        distances = [np.abs(frame - shown).mean() for shown in decoded]
        assert distances.index(min(distances)) == number
    small = np.asarray(Image.open(io.BytesIO(thumbnail(output.pixels).data)))
    distances = [np.abs(frame.astype(int) - small).mean() for frame in output.pixels]
    assert distances.index(min(distances)) == count // 2


def test_frames_are_converted_some_at_a_time_and_come_out_whole(engine, monkeypatch):
    whole = draw(engine, num_frames=9)[0].pixels
    for at_once in (1, 4):
        monkeypatch.setattr(wan_frames, "AT_ONCE", at_once)
        assert np.array_equal(draw(engine, num_frames=9)[0].pixels, whole)


def test_given_frames_are_cropped_in_the_middle_and_never_stretched():
    wide = np.zeros((64, 192, 3), np.uint8)
    wide[:, :64, 0], wide[:, 64:128, 1], wide[:, 128:, 2] = 255, 255, 255
    rings = np.zeros((200, 100, 3), np.uint8)
    rings[75:125, 25:75] = 255
    references = {"start_reference_url": Reference(b"", wide), "end_reference_url": Reference(b"", rings)}
    made = wan_frames.given(make_request(**STARTS, **ENDS, references=references), 32, 32)
    assert {name: (frame.mode, frame.size) for name, frame in made.items()} == {
        "image": ("RGB", (32, 32)),
        "last_image": ("RGB", (32, 32)),
    }
    start, end = (np.asarray(frame).astype(int) for frame in made.values())
    assert (np.abs(start - (0, 255, 0)) <= 2)[:, 2:-2].all(), "the middle third alone"
    across, down = (end[16, :, 0] > 127).sum(), (end[:, 16, 0] > 127).sum()
    assert across == down == 16, "a square stays one"


def test_a_request_without_references_gives_no_frames():
    assert wan_frames.given(make_request(), 32, 32) == {}


@pytest.mark.parametrize(
    ("asked", "photo_size", "multiple", "size"),
    [
        ({"sized": True}, (90, 180), 16, (480, 832)),
        ({"sized": False}, None, 16, (480, 832)),
        ({"sized": False, "width": 1280, "height": 720}, None, 32, (1280, 704)),
    ],
)
def test_the_size_is_what_was_asked_for_or_what_is_usual(asked, photo_size, multiple, size):
    more = {"references": {"start_reference_url": Reference(b"", photo(*photo_size))}, **STARTS} if photo_size else {}
    request = make_request(**{"width": 480, "height": 832, **asked, **more})
    assert wan_frames.size(request, multiple) == size


@pytest.mark.parametrize(("across", "down"), [(1920, 1080), (1080, 1920), (500, 500), (3000, 2000)])
def test_the_size_for_a_start_frame_has_its_shape_and_the_usual_area(across, down):
    references = {"start_reference_url": Reference(b"", np.zeros((down, across, 3), np.uint8))}
    request = make_request(**STARTS, references=references, width=480, height=832, sized=False)
    width, height = wan_frames.size(request, 16)
    assert width % 16 == height % 16 == 0
    assert width / height == pytest.approx(across / down, rel=0.05)
    assert width * height == pytest.approx(480 * 832, rel=0.05)
