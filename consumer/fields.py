"""The fields that frontends send in `jobs.metadata`: their names, aliases and limits."""

import math
import re
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
)

from consumer.errors import RejectedError
from consumer.limits import limits

MAX_COUNT = 16
MAX_FRAMES = 241
ALIASES = {
    "num_inference_steps": "steps",
    "sample_steps": "steps",
    "sample_guide_scale": "guidance_scale",
    "reference_image_url": "reference_url",
    "first_frame": "start_reference_url",
    "last_frame": "end_reference_url",
    "loras": "lora",
}
WEIGHT = re.compile(r"\(([^():,]{1,100}):\s*(\d(?:\.\d{1,4})?)\)")

# Never a path: a LoRA is named, and lies in one folder.
LORA_NAME = re.compile(r"\w[\w.-]{0,99}", re.ASCII)
LORA = re.compile(rf"({LORA_NAME.pattern})(?:\s*:\s*(-?\d(?:\.\d{{1,4}})?))?", re.ASCII)


def split_resolution(text: Any) -> tuple[int, int]:
    """`1024x576` as (width, height); raises ValueError."""
    match = re.fullmatch(r"(\d{2,4})[xX](\d{2,4})", str(text))
    if match is None or any(int(side) % 8 or not 64 <= int(side) <= 2048 for side in match.groups()):
        raise ValueError
    return int(match[1]), int(match[2])


def split_weights(text: Any) -> tuple[tuple[str, float], ...]:
    """`(word:1.2), (other:0.8)` as pairs of a word and its weight; raises ValueError."""
    matches = [WEIGHT.fullmatch(part.strip()) for part in str(text).split(",")] if text != "" else []
    pairs = tuple((match[1].strip(), float(match[2])) for match in matches if match)
    if len(pairs) < len(matches) or len(pairs) > 6 or any(not word or weight > 2 for word, weight in pairs):
        raise ValueError
    return pairs


def split_loras(sent: Any) -> tuple[tuple[str, float], ...]:
    """`name:0.8, other` or a list of {name, strength} as pairs of a name and its strength; raises ValueError."""
    if isinstance(sent, str):
        parts = [LORA.fullmatch(part.strip()) for part in sent.split(",")] if sent else []
        pairs = [(match[1], float(match[2] or 1)) if match else None for match in parts]
    elif isinstance(sent, list | tuple):
        pairs = [_lora(each) for each in sent]
    else:
        raise ValueError
    found = tuple(pair for pair in pairs if pair)
    names = {name for name, _ in found}
    if len(found) < len(pairs) or len(found) > 4 or len(names) < len(found) or any(abs(by) > 2 for _, by in found):
        raise ValueError
    return found


def _lora(sent: Any) -> tuple[str, float] | None:
    if isinstance(sent, tuple) and len(sent) == 2:
        sent = {"name": sent[0], "strength": sent[1]}
    if not isinstance(sent, dict) or sent.keys() - {"name", "strength"}:
        return None
    name, strength = sent.get("name"), sent.get("strength", 1.0)
    if not isinstance(name, str) or not LORA_NAME.fullmatch(name) or isinstance(strength, bool):
        return None
    # In this form, for NaN is not within the limit and no number is too large for a float.
    if not isinstance(strength, int | float) or not abs(strength) <= 2:
        return None
    return name, float(strength)


class Fields(BaseModel):
    """What was sent, each value checked on its own; None where the request is silent.

    Lengths are in pixels, `duration` in seconds, `fps` in frames per second.
    """

    model_config = ConfigDict(frozen=True)

    prompt: str | None = Field(None, max_length=4000)
    negative_prompt: str | None = Field(None, max_length=4000)
    style: str | None = Field(None, max_length=100)
    shot_type: str | None = Field(None, max_length=100)
    camera_angle: str | None = Field(None, max_length=100)
    num_images: int | None = Field(None, ge=1, le=MAX_COUNT)
    seed: int | None = Field(None, ge=0, le=2147483647)
    steps: int | None = Field(None, ge=1, le=100)
    guidance_scale: float | None = Field(None, ge=0, le=20)
    width: int | None = Field(None, ge=64, le=2048, multiple_of=8)
    height: int | None = Field(None, ge=64, le=2048, multiple_of=8)
    resolution: Annotated[tuple[int, int], BeforeValidator(split_resolution)] | None = Field(
        None, description="WIDTHxHEIGHT, each a whole number from 64 to 2048, divisible by 8"
    )
    aspect_ratio: Literal["1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3"] | None = None
    quality: str | None = Field(None, max_length=100)
    scheduler: str | None = Field(None, max_length=100)
    reference_url: str | None = Field(None, max_length=2000)
    reference_strength: float | None = Field(None, ge=0.1, le=0.9)
    denoise_strength: float | None = Field(None, ge=0, le=1)
    reference_type: Literal["style", "composition", "character"] | None = None
    exact_copy_mode: bool | None = None
    start_reference_url: str | None = Field(None, max_length=2000)
    end_reference_url: str | None = Field(None, max_length=2000)
    duration: float | None = Field(None, ge=0.1, le=60)
    fps: float | None = Field(None, ge=1, le=60)
    num_frames: int | None = Field(None, ge=1, le=MAX_FRAMES)
    motion_intensity: float | None = Field(None, ge=0, le=1)
    compel_enabled: bool | None = None
    compel_weights: Annotated[tuple[tuple[str, float], ...], BeforeValidator(split_weights)] | None = Field(
        None, description="up to 6 of (word:1.2), separated by commas, each weight from 0 to 2"
    )
    lora: Annotated[tuple[tuple[str, float], ...], BeforeValidator(split_loras)] | None = Field(
        None, description="up to 4 of name:0.8, separated by commas, each strength from -2 to 2"
    )
    enhance: bool | None = None
    enhancement_model: Literal["qwen_instruct", "qwen_base", "none"] | None = None
    skip_enhancement: bool | None = None

    @field_validator("*", mode="before")
    @classmethod
    def tidy(cls, value: Any, info: ValidationInfo) -> Any:
        """`true` is not a 1; NUL and lone surrogates, which neither Postgres nor a tokenizer takes, go."""
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation != bool | None:
            raise ValueError
        if isinstance(value, str):
            return value.replace("\0", "").encode("utf-8", "replace").decode().strip()
        return value


@cache
def fields_up_to(max_count: int) -> type[Fields]:
    """Fields for a job type that makes at most `max_count` images."""
    return create_model("Fields", __base__=Fields, num_images=(int | None, Field(None, ge=1, le=max_count)))


@cache
def blank(model: type[Fields]) -> Fields:
    """No field at all, to be copied: constructing one takes ten times as long."""
    return model.model_construct()


def canonical(name: str) -> str | None:
    """Our name for the field that was sent as `name`; None for a field that we do not know."""
    field = ALIASES.get(name, name)
    return field if field in Fields.model_fields else None


def check(name: str, value: Any, field: str, model: type[Fields] = Fields) -> Any:
    """`value` as `field` of `model`; raises RejectedError with one sentence about `name`, as it was sent."""
    if value is None:
        return None
    try:
        return getattr(model.model_validate({field: value}), field)
    except ValidationError:
        raise RejectedError(f"{name} must be {limits(model)[field]}.") from None


def read(sent: Mapping[str, Any], max_count: int = MAX_COUNT) -> Fields:
    """The known fields of `sent`, each under one name; null and an empty text are absent.

    `resolution` is told as width and height, `denoise_strength` as its complement reference_strength.
    Raises RejectedError for the first value that is wrong, or that contradicts another.
    """
    model = fields_up_to(max_count)
    values: dict[str, Any] = {}
    names: dict[str, str] = {}
    for name, value in sent.items():
        field = canonical(name)
        if field is None or value is None:
            continue
        checked = check(name, value, field, model)
        if checked == "":
            continue
        if values.setdefault(field, checked) != checked:
            raise RejectedError(f"{names[field]} and {name} disagree.")
        names[field] = name
    return blank(model).model_copy(update=unify(values))


def unify(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` without resolution and denoise_strength; raises RejectedError where they contradict others."""
    unified = dict(values)
    if "denoise_strength" in values:
        strength = round(1 - unified.pop("denoise_strength"), 6)
        if not math.isclose(unified.setdefault("reference_strength", strength), strength, abs_tol=0.005):
            raise RejectedError("reference_strength and denoise_strength disagree.")
    if "resolution" in values:
        width, height = unified.pop("resolution")
        if (unified.setdefault("width", width), unified.setdefault("height", height)) != (width, height):
            raise RejectedError("resolution disagrees with width and height.")
    return unified
