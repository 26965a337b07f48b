"""sketch: a deterministic picture, told step by step, with its words on it."""

import time
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from PIL import ImageFont

from consumer.engines.base import Options, Output
from consumer.engines.caption import Caption, drawable, wrap
from consumer.engines.sketch import SketchEngine
from consumer.errors import DrainingError, JobCancelledError, UsageError
from consumer.job import Medium
from consumer.request import Reference, Request

Steps = list[tuple[tuple[int, ...], int, int]]


def ask(**fields: Any) -> Request:
    usual = {"job_type": "sdxl_image_fast", "medium": Medium.image, "prompt": "a fox", "count": 1, "seed": 7}
    usual |= {"steps": 4, "guidance_scale": 6.5, "width": 96, "height": 64}
    return Request.model_validate(usual | fields)


def draw(request: Request, indexes: tuple[int, ...] = (0,), heard: Steps | None = None) -> list[Output]:
    heard = [] if heard is None else heard
    engine = SketchEngine("", Options())
    engine.load("")
    return list(engine.generate(request, indexes, lambda *step: heard.append((tuple(step[0]), *step[1:]))))


@pytest.mark.parametrize(("width", "height"), [(64, 64), (480, 832), (1024, 576), (72, 2048), (2048, 64)])
def test_a_picture_has_the_size_that_was_asked_for(width, height):
    (output,) = draw(ask(width=width, height=height))
    assert output.pixels.shape == (height, width, 3)
    assert output.pixels.dtype == np.uint8
    assert output.fps is None


@pytest.mark.parametrize("medium", [Medium.image, Medium.video])
def test_the_same_prompt_seed_and_size_give_the_same_picture(medium):
    request = ask(medium=medium, num_frames=1 if medium is Medium.image else 5)
    (first,), (second,) = draw(request), draw(request)
    assert np.array_equal(first.pixels, second.pixels)


def test_a_retry_of_one_index_draws_the_same_picture():
    whole = draw(ask(count=3), (0, 1, 2))
    (again,) = draw(ask(count=3), (2,))
    assert [output.index for output in whole] == [0, 1, 2]
    assert [output.seed for output in whole] == [7, 8, 9]
    assert (again.index, again.seed) == (2, 9)
    assert np.array_equal(again.pixels, whole[2].pixels)


@pytest.mark.parametrize("other", [{"seed": 8}, {"prompt": "an owl"}])
def test_another_seed_or_prompt_gives_another_landscape(other):
    (first,), (second,) = draw(ask()), draw(ask(**other))
    sky = np.s_[:20]
    assert abs(first.pixels[sky].astype(int) - second.pixels[sky]).mean() > 1


@pytest.mark.parametrize("seed", range(20))
def test_no_picture_is_flat(seed):
    (output,) = draw(ask(seed=seed, prompt="", width=128, height=128))
    assert output.pixels[:100].std() > 8


@pytest.mark.parametrize(("medium", "num_frames"), [(Medium.video, 5), (Medium.video, 1), (Medium.image, 5)])
def test_a_video_has_its_frames_and_their_rate(medium, num_frames):
    (output,) = draw(ask(medium=medium, num_frames=num_frames, fps=12.0))
    assert output.pixels.shape == (num_frames, 64, 96, 3)
    assert output.fps == 12


@pytest.mark.parametrize("steps", [1, 3, 4, 50])
def test_every_frame_of_a_video_is_drawn_and_a_little_different_from_the_last(steps):
    (output,) = draw(ask(medium=Medium.video, num_frames=9, steps=steps))
    moves = [abs(after.astype(int) - before).mean() for before, after in pairwise(output.pixels)]
    assert all(0 < move < 10 for move in moves)


def test_a_video_ends_where_it_began():
    (output,) = draw(ask(medium=Medium.video, num_frames=33))
    first, middle, last = (output.pixels[number].astype(int) for number in (0, 8, -1))
    assert abs(last - first).mean() < abs(middle - first).mean()


def test_more_motion_moves_it_further():
    def distance(motion: float) -> float:
        (output,) = draw(ask(medium=Medium.video, num_frames=4, motion_intensity=motion))
        return float(abs(output.pixels[1].astype(int) - output.pixels[0]).mean())

    assert distance(0.1) < distance(1.0)


@pytest.mark.parametrize("medium", [Medium.image, Medium.video])
def test_every_step_of_every_asset_is_reported_in_order(medium):
    heard: Steps = []
    draw(ask(steps=5, medium=medium, num_frames=3 if medium is Medium.video else 1), (1, 4), heard)
    assert heard == [((index,), done, 5) for index in (1, 4) for done in range(6)]


@pytest.mark.parametrize("error", [JobCancelledError, DrainingError])
@pytest.mark.parametrize("calls", [1, 2, 5, 6])
def test_it_stops_at_the_step_that_says_so_and_works_again_afterwards(error, calls):
    heard: list[int] = []

    def stop(indexes: object, done: int, total: int) -> None:
        heard.append(done)
        if len(heard) == calls:
            raise error

    engine = SketchEngine("", Options())
    made: list[Output] = []
    with pytest.raises(error):
        made.extend(engine.generate(ask(steps=4), (0, 1), stop))
    assert len(heard) == calls
    assert len(made) == (0 if calls <= 5 else 1)
    (after,) = engine.generate(ask(), (0,), lambda *_: None)
    assert np.array_equal(after.pixels, draw(ask())[0].pixels)


def test_the_metadata_says_what_was_used():
    (output,) = draw(ask(steps=9, guidance_scale=3.5))
    assert output.metadata == {"steps": 9, "guidance_scale": 3.5, "batch_size": 1}


def halves(width: int = 60, height: int = 60) -> Reference:
    """A picture that is red on the left and blue on the right."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0], pixels[:, width // 2 :, 2] = 255, 255
    return Reference(b"", pixels)


def referring(*fields: str, **more: Any) -> Request:
    found = {field: halves() for field in fields}
    return ask(**dict.fromkeys(fields, "https://example.com/fox.png"), references=found, **more)


FIELDS = ["reference_url", "start_reference_url", "end_reference_url"]
SKY = np.s_[:20]


def test_it_uses_every_reference_so_that_none_is_refused_where_it_stands_in():
    assert set(SketchEngine.references) == set(FIELDS)


@pytest.mark.parametrize("strength", [None, 0.1, 0.9])
def test_a_reference_is_seen_as_strongly_as_it_was_asked_for(strength):
    (plain,), (output,) = draw(ask()), draw(referring("reference_url", reference_strength=strength))
    share = 0.5 if strength is None else strength
    # Cropped to 96 x 64 in the middle, it is still half red and half blue.
    expected = plain.pixels[SKY] * (1 - share)
    expected[:, :40, 0] += 255 * share
    expected[:, 56:, 2] += 255 * share
    sides = np.r_[0:40, 56:96]
    assert np.abs(output.pixels[SKY][:, sides] - expected[:, sides]).max() <= 1


def test_an_exact_copy_shows_the_reference_and_nothing_else():
    (output,) = draw(referring("reference_url", exact_copy_mode=True, prompt=""))
    assert np.abs(output.pixels[:, :40].astype(int) - [255, 0, 0]).max() <= 1
    assert np.abs(output.pixels[:, 56:].astype(int) - [0, 0, 255]).max() <= 1


def test_a_reference_is_cropped_and_not_stretched():
    """A black bar of 10 in a tall picture of 60 keeps its place in the middle, in the scale of the width."""
    pixels = np.full((300, 60, 3), 255, np.uint8)
    pixels[145:155] = 0
    found = {"reference_url": Reference(b"", pixels)}
    (output,) = draw(ask(references=found, reference_url="x", exact_copy_mode=True, width=120, height=120))
    dark = np.flatnonzero(output.pixels[:, 60, 0] < 128)
    assert (dark.min(), dark.max()) == (50, 69)


def test_a_start_fades_out_and_an_end_fades_in():
    def change(*fields: str) -> list[float]:
        (output,) = draw(referring(*fields, medium=Medium.video, num_frames=9, reference_strength=0.9))
        (plain,) = draw(ask(medium=Medium.video, num_frames=9))
        return [
            float(np.abs(a[SKY].astype(int) - b[SKY]).mean()) for a, b in zip(output.pixels, plain.pixels, strict=True)
        ]

    start, end = change("start_reference_url"), change("end_reference_url")
    assert start[0] > 20
    assert end[-1] > 20
    assert (start[-1], end[0]) == (0, 0)
    assert start == sorted(start, reverse=True)
    assert end == sorted(end)


@pytest.mark.parametrize("field", FIELDS)
def test_every_reference_is_seen_in_a_picture_too(field):
    (plain,), (output,) = draw(ask()), draw(referring(field))
    assert np.abs(output.pixels[SKY].astype(int) - plain.pixels[SKY]).mean() > 10


def test_the_metadata_says_how_large_the_references_were_and_how_strongly_they_were_used():
    (output,) = draw(referring("reference_url", reference_strength=0.7))
    usual = {"steps": 4, "guidance_scale": 6.5, "batch_size": 1}
    assert output.metadata == {**usual, "reference_strength": 0.7, "reference_width": 60, "reference_height": 60}
    (output,) = draw(referring("start_reference_url", "end_reference_url"))
    sizes = {f"{name}_reference_{side}": 60 for name in ("start", "end") for side in ("width", "height")}
    assert output.metadata == {**usual, "reference_strength": 0.5, **sizes}
    (output,) = draw(referring("reference_url", reference_strength=0.7, exact_copy_mode=True))
    assert output.metadata["reference_strength"] == 1


def test_every_asset_takes_the_seconds_that_were_set(monkeypatch):
    monkeypatch.setenv("CONSUMER_SKETCH_SECONDS", "0.3")
    heard: Steps = []
    started = time.monotonic()
    draw(ask(steps=2), (0, 1), heard)
    assert time.monotonic() - started >= 0.6
    assert len(heard) > 2 * (2 + 1)
    for index in (0, 1):
        done = [step for indexes, step, _ in heard if indexes == (index,)]
        assert done == sorted(done)
        assert (done[0], done[-1]) == (0, 2)


def test_a_cancel_does_not_wait_for_the_seconds_that_were_set(monkeypatch):
    monkeypatch.setenv("CONSUMER_SKETCH_SECONDS", "3600")
    heard = []

    def cancel(*step: object) -> None:
        heard.append(step)
        if len(heard) == 3:
            raise JobCancelledError

    with pytest.raises(JobCancelledError):
        next(SketchEngine("", Options()).generate(ask(steps=1), (0,), cancel))


@pytest.mark.parametrize("value", ["-1", "soon", "nan", "inf", "1,5"])
def test_seconds_that_are_no_number_are_refused_by_name(monkeypatch, value):
    monkeypatch.setenv("CONSUMER_SKETCH_SECONDS", value)
    with pytest.raises(UsageError, match="CONSUMER_SKETCH_SECONDS must be a number of seconds"):
        SketchEngine("", Options())


STRANGE = {
    "nothing": "",
    "blanks": " \n\t",
    "control characters": "\0\x07\x7f",
    "emoji": "a 🦊 and 👩‍🚀",
    "Japanese": "日本語の長い説明" * 200,
    "right to left": "مرحبا שלום",
    "half a character": "\ud800",
    "one long word": "x" * 4000,
    "many words": "a b " * 1000,
    "loose accents": "e\u0301" * 50,
}


@pytest.mark.parametrize("prompt", STRANGE.values(), ids=STRANGE)
@pytest.mark.parametrize("size", [64, 256])
def test_no_prompt_is_too_strange_to_be_drawn(prompt, size):
    (output,) = draw(ask(prompt=prompt, width=size, height=size, seed=2147483647))
    assert output.pixels.shape == (size, size, 3)


@pytest.mark.parametrize(
    "other",
    [("an owl", 7, 0, 512, 512), ("a fox", 8, 0, 512, 512), ("a fox", 7, 1, 512, 512), ("a fox", 7, 0, 512, 520)],
)
def test_the_caption_tells_prompt_seed_index_and_size(other):
    assert not np.array_equal(Caption("a fox", 7, 0, 512, 512).added, Caption(*other).added)


@pytest.mark.parametrize("size", [64, 256, 1024])
def test_the_caption_is_white_on_a_darkened_foot_and_leaves_the_rest_alone(size):
    picture = np.full((size, size, 3), 120, np.uint8)
    Caption("a fox " * 99, 2147483647, 5, size, size).write_on(picture)
    changed = np.flatnonzero((picture != 120).any(axis=(1, 2)))
    assert changed.min() > size * 0.4
    assert changed.max() == size - 1
    assert picture.max() > 220
    assert picture.min() < 80


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("plain, (fox:1.2) [x] ~", "plain, (fox:1.2) [x] ~"),
        ("  two\n\nlines\t", "two lines"),
        ("café Ångström — “über”", 'cafe Angstrom - "uber"'),
        ("a 🦊 fox", "a … fox"),
        ("日本語 東京, tokyo", "…, tokyo"),
        ("👩‍🚀", "…"),
        ("", ""),
    ],
)
def test_the_caption_spells_what_it_can_and_marks_what_it_cannot(text, drawn):
    assert drawable(text) == drawn


@pytest.mark.parametrize("text", ["one two three four five six", "x" * 400, "a fox " * 100, "short", "two " + "x" * 90])
@pytest.mark.parametrize("most", [1, 2, 3])
def test_the_caption_keeps_within_its_lines(text, most):
    font, room = ImageFont.load_default(12), 90
    lines = wrap(text, 12, room, most)
    assert 1 <= len(lines) <= most
    assert all(font.getlength(line) <= room for line in lines)
    shown = "".join(lines).replace(" ", "")
    if shown.endswith("…"):
        assert text.replace(" ", "").startswith(shown[:-1])
    else:
        assert shown == text.replace(" ", "")


def test_the_caption_breaks_between_words():
    assert wrap("a small fox in the snow", 12, 55, 9) == ["a small", "fox in the", "snow"]


def test_a_line_with_no_room_for_a_letter_is_an_ellipsis():
    assert wrap("fox", 12, 1, 1) == ["…"]
