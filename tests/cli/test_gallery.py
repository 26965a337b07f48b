"""The contact sheet and the page that a demo leaves."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from PIL import Image

from consumer import encode
from consumer.cli.demo.gallery import GAP, MARGIN, WIDTH, Picture, contact_sheet, in_rows, page, row_height

RED, GREEN, BLUE = (200, 30, 30), (30, 200, 30), (30, 30, 200)


def picture(folder: Path, colour: tuple[int, int, int], width: int, height: int, **words: str) -> Picture:
    """A picture of one colour, in a folder of its own as the storage has it."""
    pixels = np.full((height, width, 3), colour, np.uint8)
    files = folder / f"{'-'.join(map(str, colour))} {width}x{height}"
    files.mkdir(parents=True)
    (files / "0.png").write_bytes(encode.png(pixels).data)
    (files / "0.thumb.webp").write_bytes(encode.thumbnail(pixels).data)
    said = {"title": "sketch 1/1", "prompt": "a lake", "status": "completed", **words}
    sized = {"width": width, "height": height, "file": files / "0.png", "thumbnail": files / "0.thumb.webp"}
    return Picture(seed=7, **said, **sized)


def video(folder: Path, colour: tuple[int, int, int]) -> Picture:
    """A video of one colour in its middle, black before and after."""
    pixels = np.zeros((9, 64, 64, 3), np.uint8)
    pixels[3:6] = colour
    (folder / "0.mp4").write_bytes(encode.mp4(pixels, 8).data)
    return Picture(
        title="video_fast 1/1", prompt="a lake", status="completed", seed=7, width=64, height=64, file=folder / "0.mp4"
    )


FAILED = Picture(title="sketch 2/2", prompt="a lake", status="failed", reason="The lake is <dry>.")


class Reader(HTMLParser):
    """What a page names and says."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.text = ""
        self.tags: list[str] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "poster") and value]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_every_picture_is_on_the_sheet_at_its_place(tmp_path: Path) -> None:
    pictures = [picture(tmp_path, RED, 64, 64), FAILED, picture(tmp_path, GREEN, 128, 64), video(tmp_path, BLUE)]
    contact_sheet(pictures, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width == WIDTH
        row = np.asarray(sheet.convert("RGB"), int)[MARGIN + 100]
    named = {"red": RED, "green": GREEN, "blue": BLUE}
    shown = [next((name for name in named if abs(pixel - named[name]).max() < 25), "") for pixel in row]
    in_order = [name for name, before in zip(shown, ["", *shown], strict=False) if name and name != before]
    assert in_order == ["red", "green", "blue"]
    assert abs(shown.count("green") - 2 * shown.count("red")) <= 2


def test_a_row_is_as_wide_as_the_sheet_unless_its_pictures_are_few(tmp_path: Path) -> None:
    squares = [picture(tmp_path / str(number), RED, 64, 64) for number in range(7)]
    rows = in_rows(squares)
    assert [each for row in rows for each in row] == squares
    for row in rows[:-1]:
        assert WIDTH - 2 * MARGIN - len(row) < row_height(row) * len(row) + GAP * (len(row) - 1) <= WIDTH - 2 * MARGIN


def test_a_page_names_only_files_beside_it(tmp_path: Path) -> None:
    pictures = [picture(tmp_path / "storage", RED, 64, 64), FAILED, video(tmp_path, BLUE)]
    page(pictures, tmp_path / "index.html", "Pictures", "of a lake")
    reader = Reader(tmp_path / "index.html")
    assert len(reader.addresses) == 4
    for address in reader.addresses:
        parts = urlsplit(address)
        assert not parts.scheme
        assert not parts.netloc
        assert (tmp_path / unquote(parts.path)).is_file()
    assert not {"script", "link", "iframe"} & set(reader.tags)
    assert [reader.tags.count(tag) for tag in ("figure", "img", "video")] == [3, 1, 1]


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", 'a "lake" & <b>hills</b>', "<!-- figures -->"])
def test_what_a_user_wrote_is_text_on_the_page(tmp_path: Path, text: str) -> None:
    page([picture(tmp_path, RED, 64, 64, prompt=text), FAILED], tmp_path / "index.html", text, "of a lake")
    reader = Reader(tmp_path / "index.html")
    assert reader.text.count(text) == 3
    assert "The lake is <dry>." in reader.text
    assert not {"script", "b"} & set(reader.tags)
