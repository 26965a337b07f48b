"""One request on one pipeline of WAN, from its words and frames to the pixels of each asset."""
# ruff: noqa: PLC0415

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from consumer.engines import diffusion, speed, wan_frames, wan_models, wan_schedulers, wan_words
from consumer.engines.base import OnStep, Output, Phase
from consumer.job import Medium
from consumer.request import Request

if TYPE_CHECKING:
    import torch


class Drawing:
    """Encode once, then draw each batch. `told` is what metadata says of all its assets.

    `multiple` is what the widths and heights of this model are multiples of, in pixels."""

    def __init__(self, pipe: Any, request: Request, multiple: int, on_step: OnStep) -> None:
        self.pipe = pipe
        self.request = request
        self.on_step = on_step
        width, height = wan_frames.size(request, multiple)
        frames = wan_frames.given(request, width, height)
        self.asked = {
            **frames,
            "width": width,
            "height": height,
            "num_frames": request.num_frames,
            "num_inference_steps": request.steps,
            "guidance_scale": request.guidance_scale,
        }
        self.scheduler, named = wan_schedulers.make_scheduler(
            request.scheduler, pipe.scheduler, request.steps, width, height
        )
        self.total = len(self.scheduler.timesteps)
        self.starts = bool(frames)
        self.told: dict[str, Any] = {"steps": self.total, "guidance_scale": request.guidance_scale, **named}
        if pipe.config.boundary_ratio is not None:
            self.told |= {
                "boundary_ratio": pipe.config.boundary_ratio,
                "guidance_scale_2": request.guidance_scale,
            }
        self._words: Mapping[str, torch.Tensor] = {}
        self._denoised: dict[int, torch.Tensor] = {}

    def encode(self, indexes: Sequence[int]) -> None:
        """Encode the prompts, for all of the `indexes` at once."""
        import torch

        def encode() -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
            with _tidy(self.pipe), torch.no_grad():
                return wan_words.encode(self.pipe, self.request)

        self.on_step(indexes, 0, self.total, Phase.encode)
        self._words, told = diffusion.guarded(encode)
        self.told |= told

    @contextmanager
    def scheduled(self) -> Iterator[None]:
        """The pipeline with the scheduler of this request, for as long as the `with` lasts."""
        own = self.pipe.scheduler
        self.pipe.scheduler = self.scheduler
        try:
            yield
        finally:
            self.pipe.scheduler = own

    def draw(self, batch: Sequence[int]) -> list[Output]:
        """The assets of one batch. Where only the decoding ran out of memory, another attempt at it does not denoise
        them again."""
        if missing := [index for index in batch if index not in self._denoised]:
            self.on_step(batch, 0, self.total, Phase.compile if speed.compiles(self.pipe) else Phase.step)
            latents = diffusion.guarded(lambda: self._denoise(missing))
            self._denoised.update(zip(missing, latents, strict=True))
        self.on_step(batch, self.total, self.total, Phase.decode)
        videos = diffusion.guarded(lambda: self._decode(batch))
        self.on_step(batch, self.total, self.total)
        for index in batch:
            del self._denoised[index]
        return [self._output(index, video, len(batch)) for index, video in zip(batch, videos, strict=True)]

    def _denoise(self, batch: Sequence[int]) -> "torch.Tensor":
        """The latents of one batch: (n, channels, frames, height, width)."""
        # For each batch anew, because giving up memory changes the hooks that it has from the pipeline.
        runner = wan_models.pipeline(self.pipe, starts=self.starts)
        with _tidy(self.pipe):
            latents: torch.Tensor = runner(
                **self.asked,
                # Repeated here, because the pipelines take what is encoded as it is: one for each video.
                **{name: words.repeat(len(batch), 1, 1) for name, words in self._words.items()},
                generator=diffusion.generators(self.request.seed, batch),
                callback_on_step_end=diffusion.step_callback(batch, self.on_step),
                output_type="latent",
            ).frames
        return latents

    def _decode(self, batch: Sequence[int]) -> NDArray[np.uint8]:
        """The videos of one batch: uint8 (n, frames, height, width, 3)."""
        import torch

        with _tidy(self.pipe):
            return wan_frames.decode(self.pipe, torch.stack([self._denoised[index] for index in batch]))

    def _output(self, index: int, video: NDArray[np.uint8], batch_size: int) -> Output:
        seed, told = self.request.seed + index, {**self.told, "batch_size": batch_size}
        if self.request.medium is Medium.image:
            return Output(index, seed, video[0], metadata=told)
        return Output(index, seed, video, self.request.fps, told)


@contextmanager
def _tidy(pipe: Any) -> Iterator[None]:
    """Let go, at the end, of what a pipeline holds on to, and what an error would leave on the device."""
    try:
        yield
    finally:
        # The hooks are those of `pipe`, whichever pipeline drew.
        pipe.maybe_free_model_hooks()
        # From frame to frame, the VAE keeps the last ones of every layer.
        pipe.vae.clear_cache()
