"""How large a picture is and how many frames a video has."""

import math

from consumer.errors import RejectedError
from consumer.fields import MAX_FRAMES, Fields

Size = tuple[int, int]

# Where the default is 1024x1024: the platform's three sizes for SDXL, and other exact ratios in steps of 64.
SIZES_AT_1024: dict[str, Size] = {
    "1:1": (1024, 1024),
    "16:9": (1024, 576),
    "9:16": (576, 1024),
    "4:3": (1024, 768),
    "3:4": (768, 1024),
    "3:2": (1152, 768),
    "2:3": (768, 1152),
}


def size(sent: Fields, default: Size) -> Size:
    """(width, height) in pixels: as sent, else of the aspect_ratio, else `default`; raises RejectedError."""
    if (sent.width is None) != (sent.height is None):
        raise RejectedError("width and height must be sent together.")
    if sent.width is not None and sent.height is not None:
        return sent.width, sent.height
    if sent.aspect_ratio is not None:
        return of_ratio(sent.aspect_ratio, default)
    return default


def of_ratio(ratio: str, default: Size) -> Size:
    """About as many pixels as `default`, in this ratio and in steps of 32, which every model takes."""
    if default == (1024, 1024):
        return SIZES_AT_1024[ratio]
    across, down = (int(part) for part in ratio.split(":"))
    scale = min(math.sqrt(default[0] * default[1] / (across * down)), 2048 / max(across, down))
    return max(64, 32 * round(across * scale / 32)), max(64, 32 * round(down * scale / 32))


def frames(sent: Fields, usual: Fields, fps: float) -> int:
    """Frames of a video, 4n + 1 as WAN needs them: as sent, else what `duration` takes, else as usual.

    Raises RejectedError for a duration of too many frames.
    """
    wanted = sent.num_frames or usual.num_frames or 1
    if sent.num_frames is None and sent.duration is not None:
        wanted = round(sent.duration * fps)
    nearest = 4 * (wanted // 4) + 1
    if nearest > MAX_FRAMES:
        raise RejectedError(f"duration must give at most {MAX_FRAMES} frames, at {fps:g} frames per second.")
    return nearest
