"""Pictures with Stable Diffusion XL."""
# ruff: noqa: PLC0415

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consumer.engines import checkpoint, diffusion, lora, memory, speed, tiny, words
from consumer.engines.base import Engine, OnStep, Options, Output, Phase
from consumer.engines.residency import Residency
from consumer.engines.schedulers import check_scheduler, make_scheduler, scheduler_name
from consumer.errors import RejectedError
from consumer.job import Medium
from consumer.request import Request

DEFAULT_MODEL = "stabilityai/stable-diffusion-xl-base-1.0"
MULTIPLE = 8
MOST_AT_ONCE = {"cuda": 4, "cpu": 2}


class SdxlEngine(Engine):
    """Text to image: a picture for each index, in batches as large as the device bears."""

    requires = ("torch", "diffusers", "transformers")

    def __init__(self, model: str, options: Options, residency: Residency | None = None) -> None:
        super().__init__(model or DEFAULT_MODEL, options, residency)
        self._residency = residency or Residency(options)

    def check(self, request: Request) -> None:
        if request.medium is not Medium.image:
            raise RejectedError("medium must be image: the sdxl engine makes no videos.")
        if request.exact_copy_mode:
            raise RejectedError("exact_copy_mode is not supported by the sdxl engine yet.")
        for field in ("width", "height"):
            if getattr(request, field) % MULTIPLE:
                raise RejectedError(f"{field} must be a multiple of {MULTIPLE} pixels for the sdxl engine.")
        check_scheduler(request.scheduler, request.steps)
        lora.check(request.lora, self.options.lora_dir)

    def load(self, model: str) -> None:
        with self._residency.use(self._key(model), partial(self._open, model)):
            pass

    def _key(self, model: str) -> str:
        return f"sdxl:{checkpoint.model_name(model)}"

    def _open(self, model: str) -> Any:
        diffusers = diffusion.import_diffusers()
        pipe = checkpoint.open_pipeline(
            diffusers.StableDiffusionXLPipeline,
            model,
            tiny=tiny.build_sdxl,
            dtype=self._residency.dtype,
            setting="CONSUMER_MODEL_SDXL",
        )
        pipe.set_progress_bar_config(disable=True)
        # To decode a whole batch at once would be the peak of memory, at the very end of the work.
        pipe.vae.enable_slicing()
        speed.prepare(pipe, self.options, self._residency.device)
        return pipe

    def generate(self, request: Request, indexes: Sequence[int], on_step: OnStep) -> Iterator[Output]:
        self.check(request)
        model = request.model or self.model
        on_step(indexes, 0, request.steps, Phase.load)
        with self._residency.use(self._key(model), partial(self._open, model)) as pipe:
            yield from self._generate(pipe, request, indexes, on_step)

    def _generate(self, pipe: Any, request: Request, indexes: Sequence[int], on_step: OnStep) -> Iterator[Output]:
        import torch

        own = pipe.scheduler
        scheduler = make_scheduler(request.scheduler, own, request.steps)
        total = len(scheduler.timesteps)
        on_step(indexes, 0, total, Phase.encode)
        with torch.no_grad():
            prompt, told = diffusion.guarded(lambda: words.encode(pipe, request))
        metadata = {**self._metadata(request, scheduler), **told}

        def draw(batch: Sequence[int]) -> list[Output]:
            on_step(batch, 0, total, Phase.compile if speed.compiles(pipe) else Phase.step)
            pixels = diffusion.guarded(lambda: self._draw(pipe, request, prompt, batch, on_step))
            on_step(batch, total, total)
            used = {**metadata, "steps": pipe.num_timesteps, "batch_size": len(batch)}
            return [
                Output(index=index, seed=request.seed + index, pixels=picture, metadata=used)
                for index, picture in zip(batch, pixels, strict=True)
            ]

        most = MOST_AT_ONCE.get(self._residency.device.type, 1)
        relief = self._residency.relief(self._key(request.model or self.model))
        pipe.scheduler = scheduler
        try:
            yield from memory.in_batches(indexes, most, draw, relief)
        finally:
            pipe.scheduler = own

    def _draw(
        self, pipe: Any, request: Request, prompt: Mapping[str, Any], batch: Sequence[int], on_step: OnStep
    ) -> NDArray[np.uint8]:
        """The pictures of one batch: uint8 (n, height, width, 3)."""
        try:
            pictures = pipe(
                **prompt,
                width=request.width,
                height=request.height,
                num_inference_steps=request.steps,
                guidance_scale=request.guidance_scale,
                num_images_per_prompt=len(batch),
                generator=diffusion.generators(request.seed, batch),
                callback_on_step_end=diffusion.step_callback(batch, on_step),
                output_type="pt",
            ).images
            return diffusion.to_pixels(pictures)
        finally:
            pipe.maybe_free_model_hooks()
            # In float16 the pipeline decodes in float32, and an error on the way would leave it so.
            pipe.vae.to(self._residency.dtype)

    def _metadata(self, request: Request, scheduler: Any) -> dict[str, Any]:
        """What is the same for all pictures of a job."""
        return {
            "model": checkpoint.model_name(request.model or self.model),
            "guidance_scale": request.guidance_scale,
            "scheduler": scheduler_name(scheduler),
            "dtype": str(self._residency.dtype).removeprefix("torch."),
        }
