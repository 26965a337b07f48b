"""Videos, and single pictures, with WAN."""

from collections.abc import Iterator, Sequence

from consumer.engines.base import Engine, OnStep, Options, Output
from consumer.engines.residency import Residency
from consumer.request import Request

DEFAULT_MODEL = "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"


class WanEngine(Engine):
    """Text to video, image to video, and pictures of one frame."""

    requires = ("torch", "diffusers", "transformers", "ftfy")
    references = ("start_reference_url", "end_reference_url")

    def __init__(self, model: str, options: Options, residency: Residency | None = None) -> None:
        super().__init__(model or DEFAULT_MODEL, options, residency)

    def load(self, model: str) -> None:
        raise NotImplementedError

    def generate(self, request: Request, indexes: Sequence[int], on_step: OnStep) -> Iterator[Output]:
        raise NotImplementedError
