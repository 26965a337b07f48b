"""What sketch lays over its landscapes: the pictures that the request refers to, so that one sees that they arrived."""

import numpy as np

from consumer.engines.colours import Pixels, mix, to_bytes
from consumer.engines.fitting import fit
from consumer.request import Request

STRENGTH = 0.5


class Backdrop:
    """The references of a request, cropped to its size. A start fades out over a video, and an end fades in."""

    def __init__(self, request: Request) -> None:
        usual = STRENGTH if request.reference_strength is None else request.reference_strength
        self.strength = 1.0 if request.exact_copy_mode else usual
        self.pictures = {
            field: np.asarray(fit(reference.pixels, request.width, request.height))
            for field, reference in request.references.items()
        }

    def lay_on(self, frame: Pixels, moment: float) -> None:
        """Blend them into a (height, width, 3) frame at `moment` 0..1 of the video, in place."""
        shares = {"start_reference_url": 1 - moment, "end_reference_url": moment}
        for field, picture in self.pictures.items():
            frame[:] = to_bytes(mix(frame, picture, self.strength * shares.get(field, 1.0)))
