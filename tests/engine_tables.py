"""The tables of docs/engines.md, written from the models: `python tests/engine_tables.py --write` (`make docs`).

What a field is for stands here; names, types, ranges and defaults come from the code.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from consumer import job_types
from consumer.fields import ALIASES, Fields
from consumer.limits import limits
from consumer.request import PLAIN, Request

PAGE = Path(__file__).parents[1] / "docs" / "engines.md"

MEANING = {
    "prompt": "What to draw. The columns `enhanced_prompt`, `original_prompt` go before it; only a copy needs none.",
    "negative_prompt": "What to keep out. It has no effect where `guidance_scale` is 1 or less.",
    "style": "Appended to the prompt, unless a rewritten one names it; as are the next two. `none` is nothing.",
    "shot_type": "Appended to the prompt.",
    "camera_angle": "Appended to the prompt.",
    "num_images": "How many pictures, up to the job type's most.",
    "seed": "Picture i is drawn with seed + i. Where it is absent, the claim draws one and stores it.",
    "steps": "Denoising steps. A reference takes away some of them; metadata says how many ran.",
    "guidance_scale": "How closely to follow the prompt; 1 or less leaves the negative prompt out, in half the time.",
    "width": "Pixels; sent together with `height`.",
    "height": "Pixels; sent together with `width`.",
    "resolution": "Width and height in one.",
    "aspect_ratio": "The platform's sizes at 1024x1024, else about as many pixels as usual; width and height win.",
    "quality": "Kept and told; the job type decides.",
    "scheduler": "Which sampler takes the steps; see below. Absent: the model's own.",
    "reference_url": "A picture to start from: an https URL, or a path in the user's own folder of the bucket.",
    "reference_strength": "How much of the reference stays; the picture is denoised by 1 minus this.",
    "denoise_strength": "The same from the other end: 1 minus `reference_strength`.",
    "reference_type": "What of the reference is meant; see below.",
    "exact_copy_mode": "The reference as it is, gone over once at low noise.",
    "start_reference_url": "The first frame of a video.",
    "end_reference_url": "Its last frame.",
    "duration": "Seconds; the frames are `duration` times `fps`, made 4n + 1.",
    "fps": "Frames per second.",
    "num_frames": "Frames, made 4n + 1; goes before `duration`.",
    "motion_intensity": "Kept; the engines have no use for it, but `sketch` moves more.",
    "compel_enabled": "`false` turns `compel_weights` and weights in the prompt off.",
    "compel_weights": "Weights of words in the prompt; a word that is not in it is appended.",
    "lora": "LoRAs by name, with their strength; also a list of `{name, strength}`.",
    "enhance": "Rewrite the prompt with a language model first.",
    "enhancement_model": "Which one; `none` leaves the prompt as it is.",
    "skip_enhancement": "`true` leaves the prompt as it is.",
}


def fields() -> Iterator[str]:
    """A row for each request field."""
    yield "| field | also called | type and range | default | what it does |"
    yield "|---|---|---|---|---|"
    for name, words in limits(Fields).items():
        aliases = ", ".join(f"`{alias}`" for alias, field in ALIASES.items() if field == name)
        yield f"| `{name}` | {aliases} | {words} | {default(name)} | {MEANING[name]} |"


def default(name: str) -> str:
    """What is taken where a request is silent."""
    if any(name in each.defaults for each in job_types.load().values()) or getattr(PLAIN, name) is not None:
        return "the job type's"
    if name == "num_images":
        return "the job type's"
    field = Request.model_fields.get(name)
    if field is None or field.is_required() or field.default in (None, "", ()):
        return "none"
    return str(field.default).lower()


def types() -> Iterator[str]:
    """A row for each built-in job type."""
    yield "| job type | engine | makes | steps | guidance | size | prompt rewritten |"
    yield "|---|---|---|---|---|---|---|"
    for name, each in job_types.load().items():
        sent = each.defaults
        frames = f", {sent['num_frames']} frames at {sent['fps']:g} fps" if "num_frames" in sent else ""
        most = f", up to {each.max_count}" if each.count < each.max_count else ""
        makes = f"{each.count} {each.medium}{'s' if each.count > 1 else ''}{most}{frames}"
        size = f"{sent['width']}x{sent['height']}"
        enhanced = "yes" if sent.get("enhance") else ""
        numbers = f"{sent['steps']} | {sent['guidance_scale']:g}"
        yield f"| `{name}` | {each.engine} | {makes} | {numbers} | {size} | {enhanced} |"


def written(text: str) -> str:
    """The page with its tables as they should be."""
    for mark, rows in (("job types", types()), ("fields", fields())):
        text = between(text, mark, rows)
    return text


def between(text: str, mark: str, rows: Iterable[str]) -> str:
    """`text` with `rows` between the two comments that name `mark`."""
    first, last = f"<!-- {mark}: written by `make docs` -->", f"<!-- end of {mark} -->"
    pattern = re.compile(f"{re.escape(first)}.*?{re.escape(last)}", re.DOTALL)
    assert len(pattern.findall(text)) == 1, mark
    table = "\n".join(rows)
    return pattern.sub(lambda _: f"{first}\n{table}\n{last}", text)


if __name__ == "__main__" and sys.argv[1:] == ["--write"]:
    PAGE.write_text(written(PAGE.read_text()))
