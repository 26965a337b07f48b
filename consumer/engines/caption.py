"""The words on a sketch: the prompt, and the seed, the index and the size it was made with."""

import math
import re
import unicodedata
from bisect import bisect_right

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from consumer.engines.colours import Pixels

LINE_HEIGHT = 1.3
DARKNESS = 0.45
WHITE, GREY = 255, 200

# Pillow's own font has little more than ASCII: some letters can be spelled with it, others become an ellipsis.
PUNCTUATION = str.maketrans("\u2013\u2014\u2018\u2019\u201c\u201d\u00d7", "--''\"\"x")
SPELLED = PUNCTUATION | str.maketrans({"ß": "ss", "æ": "ae", "Æ": "Ae", "ø": "o", "Ø": "O"})
UNKNOWN = re.compile(r"[^ -~]+(?: +[^ -~]+)*")

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


class Caption:
    """White on a darkened strip at the foot of a picture; drawn once, and laid over each frame of a video."""

    def __init__(self, prompt: str, seed: int, index: int, width: int, height: int) -> None:
        scale = math.sqrt(width * height)
        large, small = max(8, round(scale * 0.023)), max(8, round(scale * 0.017))
        margin = max(2, round(scale * 0.02))
        room = width - 2 * margin
        facts = f"seed {seed} · image {index} · {width}x{height}"
        if ImageFont.load_default(small).getlength(facts) > room:
            facts = f"{seed} #{index} {width}x{height}"
        lines = [(text, large, WHITE) for text in wrap(drawable(prompt), large, room, 1 if height < 200 else 2)]
        lines += [(text, small, GREY) for text in wrap(facts, small, room, 2)]
        tall = min(height, round(sum(size * LINE_HEIGHT for _, size, _ in lines)) + 2 * margin)
        strip = Image.new("L", (width, tall))
        pen, y = ImageDraw.Draw(strip), float(margin)
        for text, size, shade in lines:
            pen.text((margin, y), text, shade, ImageFont.load_default(size))
            y += size * LINE_HEIGHT
        ink = np.asarray(strip, np.float32)[..., None] / 255
        dark = DARKNESS * np.clip(np.arange(tall, dtype=np.float32) / margin, 0, 1)[:, None, None]
        self.kept, self.added = (1 - dark) * (1 - ink), 255 * ink

    def write_on(self, picture: Pixels) -> None:
        """Darken the foot of a (height, width, 3) picture and write on it, in place."""
        foot = picture[len(picture) - len(self.kept) :]
        foot[:] = (foot * self.kept + self.added + 0.5).astype(np.uint8)


def drawable(text: str) -> str:
    """`text` in letters that the font has, on one line; whatever it has no letters for becomes `…`."""
    letters = unicodedata.normalize("NFKD", text[:1000]).translate(SPELLED)
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return UNKNOWN.sub("…", " ".join(plain.split()))


def wrap(text: str, size: int, room: int, most: int) -> list[str]:
    """At most `most` lines of at most `room` pixels, broken between words where there are any; `…` if cut."""
    font = ImageFont.load_default(size)
    lines: list[str] = []
    while text and len(lines) < most:
        last = len(lines) == most - 1
        fits = _fitting(text, font, room)
        if fits < len(text) and last:
            fits = _fitting(text, font, room - font.getlength("…"))
            return [*lines, text[:fits].rstrip() + "…"]
        space = text.rfind(" ", 0, fits + 1) if fits < len(text) else -1
        cut = space if space > 0 else max(1, fits)
        lines.append(text[:cut].rstrip())
        text = text[cut:].lstrip()
    return lines


def _fitting(text: str, font: Font, room: float) -> int:
    """How many letters of `text` fit into `room` pixels."""
    return bisect_right(range(1, len(text) + 1), room, key=lambda count: font.getlength(text[:count]))
