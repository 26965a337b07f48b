"""Pictures with Stable Diffusion XL."""
# ruff: noqa: PLC0415

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consumer.engines import checkpoint, diffusion, lora, memory, speed, tiny, words
from consumer.engines.base import Engine, OnStep, Options, Output, Phase
from consumer.engines.image_to_image import Start, begin
from consumer.engines.residency import Residency
from consumer.engines.schedulers import check_scheduler, eta, make_scheduler, model_calls, scheduler_name
from consumer.errors import RejectedError
from consumer.job import Medium
from consumer.request import Request

DEFAULT_MODEL = "stabilityai/stable-diffusion-xl-base-1.0"
MULTIPLE = 8
MOST_AT_ONCE = {"cuda": 4, "cpu": 2}


class SdxlEngine(Engine):
    """Text to image and image to image: a picture for each index, in batches as large as the device bears."""

    requires = ("torch", "diffusers", "transformers", "compel", "peft")
    references = ("reference_url",)

    def __init__(self, model: str, options: Options, residency: Residency | None = None) -> None:
        super().__init__(model or DEFAULT_MODEL, options, residency)
        self._residency = residency or Residency(options)

    def check(self, request: Request) -> None:
        if request.medium is not Medium.image:
            raise RejectedError("medium must be image: the sdxl engine makes no videos.")
        for field in ("width", "height"):
            if getattr(request, field) % MULTIPLE:
                raise RejectedError(f"{field} must be a multiple of {MULTIPLE} pixels for the sdxl engine.")
        check_scheduler(request.scheduler, request.steps)
        words.check(request)
        lora.check(request.lora, self.options.lora_dir)

    def load(self, model: str) -> None:
        with self._residency.use(checkpoint.key("sdxl", model), partial(self._open, model)):
            pass

    def resident(self, model: str) -> bool:
        return self._residency.fits(checkpoint.key("sdxl", model or self.model))

    def _open(self, model: str) -> Any:
        diffusers = diffusion.import_diffusers()
        import torch

        pipe = checkpoint.open_pipeline(
            diffusers.StableDiffusionXLPipeline,
            model,
            tiny=tiny.build_sdxl,
            dtype=self._residency.dtype,
            setting="CONSUMER_MODEL_SDXL",
            parts=self._residency.parts,
        )
        pipe.set_progress_bar_config(disable=True)
        # To decode a whole batch at once would be the peak of memory, at the very end of the work.
        pipe.vae.enable_slicing()
        if self._residency.dtype is not torch.float16:
            # Only float16 overflows; otherwise nothing need be cast to float32 and back for each reference.
            pipe.vae.register_to_config(force_upcast=False)
        speed.prepare(pipe, self.options, self._residency.device)
        return pipe

    def generate(self, request: Request, indexes: Sequence[int], on_step: OnStep) -> Iterator[Output]:
        self.check(request)
        request, start = begin(request, MULTIPLE)
        model = self.model_for(request)
        key = checkpoint.key("sdxl", model)
        on_step(indexes, 0, request.steps, Phase.load)
        with (
            self._residency.use(key, partial(self._open, model), size=memory.size(request)) as pipe,
            ExitStack() as loras,
        ):
            applied = partial(lora.applied, pipe, request.lora, self.options.lora_dir)
            memory.relieved(lambda: loras.enter_context(applied()), self._residency.relief(key, vae=False))
            yield from self._generate(pipe, request, start, indexes, on_step)

    def _generate(
        self, pipe: Any, request: Request, start: Start | None, indexes: Sequence[int], on_step: OnStep
    ) -> Iterator[Output]:
        own = pipe.scheduler
        scheduler = make_scheduler(request.scheduler, own, request.steps)
        total = model_calls(scheduler, request.steps, start.denoise if start else 1.0)
        key = checkpoint.key("sdxl", self.model_for(request))

        def encode() -> tuple[Mapping[str, Any], Mapping[str, Any]]:
            encoding = partial(on_step, indexes, 0, total, Phase.encode)
            encoding()
            return diffusion.guarded(lambda: self._encode(pipe, request, encoding))

        prompt, told = memory.relieved(encode, self._residency.relief(key, vae=False))
        steps = -(-total // scheduler.order)
        metadata = {**self._metadata(request, scheduler), "steps": steps, **(start.told if start else {}), **told}

        def draw(batch: Sequence[int]) -> list[Output]:
            on_step(batch, 0, total, Phase.compile if speed.compiles(pipe) else Phase.step)
            pixels = diffusion.guarded(lambda: self._draw(pipe, request, start, prompt, batch, on_step))
            on_step(batch, total, total)
            used = {**metadata, "batch_size": len(batch)}
            return [
                Output(index=index, seed=request.seed + index, pixels=picture, metadata=used)
                for index, picture in zip(batch, pixels, strict=True)
            ]

        most = MOST_AT_ONCE.get(self._residency.device.type, 1)
        pipe.scheduler = scheduler
        try:
            yield from memory.in_batches(indexes, most, draw, self._residency.relief(key))
        finally:
            pipe.scheduler = own

    def _encode(
        self, pipe: Any, request: Request, between: Callable[[], None]
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """The prompts as arguments of the pipeline, and what metadata says of them."""
        import torch

        try:
            with torch.no_grad():
                return words.encode(pipe, request, between)
        finally:
            pipe.maybe_free_model_hooks()

    def _draw(
        self,
        pipe: Any,
        request: Request,
        start: Start | None,
        prompt: Mapping[str, Any],
        batch: Sequence[int],
        on_step: OnStep,
    ) -> NDArray[np.uint8]:
        """The pictures of one batch: uint8 (n, height, width, 3)."""
        try:
            pictures = self._pipeline(pipe, request, start)(
                **prompt,
                num_inference_steps=request.steps,
                guidance_scale=request.guidance_scale,
                eta=eta(pipe.scheduler),
                num_images_per_prompt=len(batch),
                generator=diffusion.generators(request.seed, batch),
                callback_on_step_end=diffusion.step_callback(batch, on_step),
                output_type="pt",
            ).images
            return diffusion.to_pixels(pictures)
        finally:
            # The hooks are those of `pipe`, whichever pipeline drew.
            pipe.maybe_free_model_hooks()
            # In float16 the pipeline decodes in float32, and an error on the way would leave it so.
            pipe.vae.to(self._residency.dtype)

    def _pipeline(self, pipe: Any, request: Request, start: Start | None) -> Callable[..., Any]:
        """The pipeline that draws, of the same weights, with what it draws over or how large."""
        if start is None:
            return partial(pipe, width=request.width, height=request.height)
        kind = diffusion.import_diffusers().StableDiffusionXLImg2ImgPipeline
        over = diffusion.variant(pipe, kind, add_watermarker=False)
        over.set_progress_bar_config(disable=True)
        return partial(over, image=start.picture, strength=start.denoise)

    def _metadata(self, request: Request, scheduler: Any) -> dict[str, Any]:
        """What is the same for all pictures of a job."""
        metadata = {
            "model": checkpoint.model_name(self.model_for(request)),
            "guidance_scale": request.guidance_scale,
            "scheduler": scheduler_name(scheduler),
            "dtype": str(self._residency.dtype).removeprefix("torch."),
        }
        if request.lora:
            metadata["lora"] = [{"name": name, "strength": strength} for name, strength in request.lora]
        return metadata
