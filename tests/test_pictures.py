"""From bytes to pixels: what a picture shows, and what is no picture."""

import struct
import subprocess
import sys
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from consumer.errors import RejectedError
from consumer.pictures import LEAST_SIDE, MOST_PIXELS, decode

UNREADABLE = "field must be a PNG, JPEG or WebP picture, whole and unbroken."
WRONG_SIZE = "field must have at least 16 x 16 pixels, and at most 40 million."
KINDS = ["PNG", "JPEG", "WEBP"]


def scene(width: int = 48, height: int = 32) -> np.ndarray:
    """A soft picture whose four corners differ."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    return np.stack([40 + 180 * x, 220 - 180 * y, 60 + 120 * x * y], axis=-1).round().astype(np.uint8)


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    usual = {"JPEG": {"quality": 98, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    buffer = BytesIO()
    image.save(buffer, kind, **{**usual, **options})
    return buffer.getvalue()


def check_near(pixels: np.ndarray, expected: np.ndarray, atol: int = 4) -> None:
    assert pixels.dtype == np.uint8
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).max() <= atol


def refusal(data: bytes) -> str:
    with pytest.raises(RejectedError) as caught:
        decode("field", data)
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_the_pixels_are_those_of_the_picture(kind):
    check_near(decode("field", saved(Image.fromarray(scene()), kind)), scene())


# What a camera held like this stores, for the picture to be seen upright.
HELD = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a.transpose(1, 0, 2), 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("orientation", HELD)
def test_a_picture_is_upright_however_the_camera_was_held(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(HELD[orientation](scene())))
    check_near(decode("field", saved(stored, kind, exif=exif)), scene())


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_what_is_transparent_is_white(kind):
    alpha = np.zeros((32, 48), np.uint8)
    alpha[:, 16:32], alpha[:, 32:] = 128, 255
    image = Image.fromarray(np.dstack([scene(), alpha]))
    share = alpha[..., None] / 255
    check_near(
        decode("field", saved(image, kind, **({"exact": True} if kind == "WEBP" else {}))),
        scene() * share + 255 * (1 - share),
        1,
    )


def grey() -> np.ndarray:
    return np.linspace(0, 255, 32 * 48).reshape(32, 48).round().astype(np.uint8)


def test_grey_with_transparency_is_grey_on_white():
    image = Image.merge("LA", [Image.fromarray(grey()), Image.new("L", (48, 32), 51)])
    check_near(decode("field", saved(image)), np.repeat((grey() * 0.2 + 255 * 0.8)[..., None], 3, axis=2), 1)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_grey_is_grey(kind):
    check_near(decode("field", saved(Image.fromarray(grey()), kind)), np.repeat(grey()[..., None], 3, axis=2))


def test_sixteen_bits_a_pixel_lose_the_lower_eight_and_not_their_shades():
    deep = grey().astype(np.uint16) * 257
    check_near(decode("field", saved(Image.fromarray(deep))), np.repeat(grey()[..., None], 3, axis=2), 1)


@pytest.mark.parametrize("transparency", [None, 1, bytes([255, 0])])
def test_a_palette_is_looked_up_and_its_transparent_colour_is_white(transparency):
    image = Image.new("P", (32, 32), 0)
    image.putpalette([200, 10, 30, 0, 0, 250])
    image.paste(1, (16, 0, 32, 32))
    pixels = decode("field", saved(image, **({} if transparency is None else {"transparency": transparency})))
    assert pixels[5, 5].tolist() == [200, 10, 30]
    assert pixels[5, 25].tolist() == ([0, 0, 250] if transparency is None else [255, 255, 255])


def test_black_and_white_are_black_and_white():
    image = Image.new("1", (32, 32))
    image.paste(1, (16, 0, 32, 32))
    assert np.unique(decode("field", saved(image)).reshape(-1, 3), axis=0).tolist() == [[0, 0, 0], [255, 255, 255]]


def test_the_colours_of_a_printer_become_those_of_a_screen():
    pixels = decode("field", saved(Image.new("CMYK", (32, 32), (0, 255, 255, 0)), "JPEG"))
    check_near(pixels, np.broadcast_to([255, 0, 0], (32, 32, 3)), 6)


def profile(name: str) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()  # type: ignore[arg-type]


def test_colours_are_what_their_profile_means():
    """The numbers of a linear picture are light, and sRGB has a curve for it."""
    srgb = decode("field", saved(Image.fromarray(scene()), icc_profile=profile("sRGB")))
    check_near(srgb, scene(), 1)
    linear = Image.fromarray(scene())
    meant = decode("field", saved(linear, icc_profile=linear_profile()))
    share = scene() / 255
    curve = np.where(share <= 0.0031308, 12.92 * share, 1.055 * share ** (1 / 2.4) - 0.055)
    check_near(meant, curve * 255, 3)


def linear_profile() -> bytes:
    """sRGB with its three curves made straight lines: each is the tag `rTRC`, `gTRC` or `bTRC`."""
    data = bytearray(profile("sRGB"))
    for number in range(struct.unpack_from(">I", data, 128)[0]):
        name, offset, _ = struct.unpack_from(">4sII", data, 132 + 12 * number)
        if name in (b"rTRC", b"gTRC", b"bTRC"):
            data[offset : offset + 12] = b"curv" + bytes(8)
            struct.pack_into(">I", data, 132 + 12 * number + 8, 12)
    return bytes(data)


@pytest.mark.parametrize("wrong", [b"no profile", profile("LAB"), bytes(200)])
def test_a_profile_that_cannot_be_is_none(wrong):
    check_near(decode("field", saved(Image.fromarray(scene()), icc_profile=wrong)), scene())


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_of_a_picture_that_moves_the_first_frame_is_taken(kind):
    second = Image.new("RGB", (48, 32), "red")
    data = saved(Image.fromarray(scene()), kind, save_all=True, append_images=[second], duration=100)
    check_near(decode("field", data), scene())


def test_the_first_of_several_pictures_in_a_phones_jpeg_is_taken():
    second = Image.new("RGB", (48, 32), "red")
    data = saved(Image.fromarray(scene()), "MPO", save_all=True, append_images=[second], quality=98, subsampling=0)
    check_near(decode("field", data), scene())


def test_a_video_behind_a_phones_jpeg_does_no_harm():
    video = np.random.default_rng(1).integers(0, 256, 20 * 1024**2, np.uint8).tobytes()
    assert video.count(b"\xff\xda") > 200
    check_near(decode("field", saved(Image.fromarray(scene()), "JPEG") + video), scene())


NO_PICTURES = {
    "nothing": b"",
    "text": b"a fox",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"></svg>',
    "html": b"<!doctype html><html><body><img src='fox.png'></body></html>",
    "pdf": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n",
    "gif": saved(Image.new("P", (64, 64)), "GIF"),
    "bmp": saved(Image.new("RGB", (64, 64)), "BMP"),
    "tiff": saved(Image.new("RGB", (64, 64)), "TIFF"),
    "ico": saved(Image.new("RGB", (64, 64)), "ICO"),
    "a header": b"\x89PNG\r\n\x1a\n",
    "two markers": b"\xff\xd8\xff\xe0",
    "riff": b"RIFF\x00\x00\x00\x00WEBPVP8 ",
}


@pytest.mark.parametrize("data", NO_PICTURES.values(), ids=NO_PICTURES)
def test_what_is_no_picture_of_a_known_kind_is_refused(data):
    assert refusal(data) == UNREADABLE


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_picture_that_breaks_off_is_refused(kind, share):
    noise = np.random.default_rng(2).integers(0, 256, (64, 64, 3), np.uint8)
    data = saved(Image.fromarray(noise), kind)
    assert refusal(data[: int(len(data) * share)]) == UNREADABLE


def test_a_picture_with_a_wrong_byte_is_refused():
    data = bytearray(saved(Image.fromarray(scene())))
    data[data.index(b"IDAT") + 8] ^= 0xFF
    assert refusal(bytes(data)) == UNREADABLE


def outcome(data: bytes) -> str | int:
    """The sentence, or the number of colours of the pixels."""
    try:
        return decode("field", data).shape[2]
    except RejectedError as error:
        return str(error)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_broken_in_it_there_are_pixels_or_a_sentence(kind, seed):
    rng = np.random.default_rng(seed)
    exif = Image.Exif()
    exif[0x0112] = 6
    data = bytearray(saved(Image.fromarray(scene()), kind, exif=exif, icc_profile=profile("sRGB")))
    for place in rng.integers(0, len(data), 8):
        data[place] = rng.integers(0, 256)
    assert outcome(bytes(data)) in (UNREADABLE, WRONG_SIZE, 3)


def claim(width: int, height: int) -> bytes:
    """A PNG that says it is so large, with nothing in it."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [6325, 9500, 13_000, 30_000, 2**31 - 1])
def test_a_picture_that_is_too_large_is_refused_before_it_is_decoded(side):
    """Were it decoded, it would be found to be broken."""
    assert side**2 > MOST_PIXELS
    assert refusal(claim(side, side)) == WRONG_SIZE
    assert refusal(claim(6324, 6324)) == UNREADABLE


@pytest.mark.parametrize(("width", "height"), [(1, 1), (LEAST_SIDE - 1, 64), (64, LEAST_SIDE - 1)])
def test_a_picture_that_is_too_small_is_refused(width, height):
    assert refusal(saved(Image.new("RGB", (width, height)))) == WRONG_SIZE


def test_the_smallest_picture_is_taken():
    assert decode("field", saved(Image.new("RGB", (LEAST_SIDE, LEAST_SIDE)))).shape == (LEAST_SIDE, LEAST_SIDE, 3)


def test_a_size_between_our_limit_and_pillows_says_nothing_on_stderr():
    code = "import sys; from consumer.pictures import decode; decode('field', sys.stdin.buffer.read())"
    done = subprocess.run([sys.executable, "-c", code], input=claim(11_000, 11_000), capture_output=True, check=False)
    assert done.stderr.decode().splitlines()[-1] == f"consumer.errors.RejectedError: {WRONG_SIZE}"
    assert b"DecompressionBombWarning: Image size" in done.stderr, "as the cause"
    assert not done.stderr.startswith(b"/")


def test_a_jpeg_that_is_sent_in_countless_scans_is_refused():
    """Each of them is read over the whole picture: a megabyte of them would take hours."""
    whole = saved(Image.fromarray(scene()), "JPEG", progressive=True)
    last = whole.rindex(b"\xff\xda")
    scan = whole[last:-2]
    assert decode("field", whole[:-2] + 20 * scan + whole[-2:]).shape == (32, 48, 3)
    assert refusal(whole[:-2] + 600 * scan + whole[-2:]) == UNREADABLE
