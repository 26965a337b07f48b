"""Pictures and videos on one sheet, and on one page: what the demo leaves to look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import islice
from pathlib import Path
from urllib.parse import quote

from PIL import Image, ImageDraw, ImageFont

PAGE = Path(__file__).with_name("gallery.html")

WIDTH, TALLEST, LOWEST, GAP, MARGIN, CAPTION = 1440, 450, 300, 20, 32, 72
"""Of the contact sheet, in pixels: its width, the height of a row's pictures, and what lies between and around."""

BACKGROUND, TEXT, QUIET = "#14161a", "#e8e6e1", "#8d939c"


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture or video and what to say about it; without a `file` there is only the reason to tell."""

    title: str
    prompt: str
    status: str
    seed: int | None = None
    width: int = 1
    height: int = 1
    file: Path | None = None
    thumbnail: Path | None = None
    reason: str = ""

    @property
    def facts(self) -> str:
        """What it was made with."""
        return f"seed {self.seed}   {self.width} x {self.height}"


def contact_sheet(pictures: Sequence[Picture], path: Path) -> None:
    """Write a PNG with every picture that has a file, in rows as wide as the sheet, each with a caption."""
    rows = in_rows([picture for picture in pictures if picture.file])
    heights = [row_height(row) for row in rows]
    tall = 2 * MARGIN + sum(height + CAPTION for height in heights) + GAP * max(0, len(rows) - 1)
    sheet = Image.new("RGB", (WIDTH, tall), BACKGROUND)
    pen, top = ImageDraw.Draw(sheet), MARGIN
    for row, height in zip(rows, heights, strict=True):
        left = MARGIN
        for picture in row:
            assert picture.file
            width = round(height * picture.width / picture.height)
            sheet.paste(still(picture.file).resize((width, height), Image.Resampling.LANCZOS), (left, top))
            write(pen, picture.prompt, left, top + height + 8, width, 16, TEXT)
            write(pen, picture.title, left, top + height + 30, width, 13, QUIET)
            write(pen, picture.facts, left, top + height + 47, width, 13, QUIET)
            left += width + GAP
        top += height + CAPTION + GAP
    sheet.save(path)


def still(file: Path) -> Image.Image:
    """A picture as it is; of a video the frame in its middle."""
    if file.suffix != ".mp4":
        with Image.open(file) as image:
            return image.convert("RGB")
    import av  # noqa: PLC0415 it takes 80 ms

    with av.open(str(file)) as container:
        middle = container.streams.video[0].frames // 2
        frame: Image.Image = next(islice(container.decode(video=0), middle, None)).to_image()
    return frame


def in_rows(pictures: Sequence[Picture]) -> list[list[Picture]]:
    """The pictures in order, in rows that are not lower than LOWEST."""
    rows: list[list[Picture]] = []
    for picture in pictures:
        if rows and row_height([*rows[-1], picture]) >= LOWEST:
            rows[-1].append(picture)
        else:
            rows.append([picture])
    return rows


def row_height(row: Sequence[Picture]) -> int:
    """The height in pixels at which a row is as wide as the sheet; TALLEST at most."""
    room = WIDTH - 2 * MARGIN - GAP * (len(row) - 1)
    return min(TALLEST, int(room / sum(picture.width / picture.height for picture in row)))


def write(pen: ImageDraw.ImageDraw, text: str, left: int, top: int, room: int, size: int, colour: str) -> None:
    """One line of text, cut where the room ends."""
    font = ImageFont.load_default(size)
    if font.getlength(text) > room:
        while text and font.getlength(text + "...") > room:
            text = text[:-1]
        text = text.rstrip() + "..."
    pen.text((left, top), text, colour, font)


def page(pictures: Sequence[Picture], path: Path, title: str, subtitle: str) -> None:
    """Write an HTML page that needs nothing but the pictures, which it names relative to itself."""
    figures = "\n".join(figure(picture, path.parent) for picture in pictures)
    text = PAGE.read_text("utf-8")
    for name, value in (("title", escape(title)), ("subtitle", escape(subtitle)), ("figures", figures)):
        text = text.replace(f"<!-- {name} -->", value)
    path.write_text(text, "utf-8")


def figure(picture: Picture, folder: Path) -> str:
    """One picture with its prompt and facts, or the reason why there is none."""
    status = f'<li class="{escape(picture.status)}">{escape(picture.status)}</li></ul>'
    caption = f"<figcaption><p>{escape(picture.prompt)}</p><ul><li>{escape(picture.title)}</li>"
    if picture.file is None:
        reason = f'<p class="reason">{escape(picture.reason)}</p>'
        return f'<figure style="--shape:1">{caption}{status}{reason}</figcaption></figure>'
    return (
        f'<figure style="--shape:{picture.width / picture.height:.4f}">{media(picture, picture.file, folder)}'
        f"{caption}<li>seed {picture.seed}</li><li>{picture.width} x {picture.height}</li>{status}"
        "</figcaption></figure>"
    )


def media(picture: Picture, file: Path, folder: Path) -> str:
    """The picture, which links to itself, or the video, which plays; the thumbnail is there before either."""
    source, small = relative(file, folder), relative(picture.thumbnail or file, folder)
    size = f'width="{picture.width}" height="{picture.height}"'
    if file.suffix == ".mp4":
        return f'<video src="{source}" poster="{small}" {size} autoplay controls loop muted playsinline></video>'
    image = f'src="{source}" alt="{escape(picture.prompt)}" loading="lazy" style="background-image:url({small})"'
    return f'<a href="{source}"><img {image} {size}></a>'


def relative(file: Path, folder: Path) -> str:
    """The address of `file` as seen from a page in `folder`."""
    return quote(file.relative_to(folder).as_posix())
