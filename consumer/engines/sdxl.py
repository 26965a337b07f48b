"""Pictures from a text with Stable Diffusion XL."""
# ruff: noqa: PLC0415

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consumer.engines import checkpoint, diffusion, tiny
from consumer.engines.base import Engine, OnStep, Output
from consumer.engines.schedulers import check_scheduler, make_scheduler, scheduler_name
from consumer.errors import RejectedError
from consumer.job import Medium
from consumer.request import Request

DEFAULT_MODEL = "stabilityai/stable-diffusion-xl-base-1.0"
MULTIPLE = 8
MOST_AT_ONCE = {"cuda": 4, "cpu": 2}
UNSUPPORTED = (
    "reference_url",
    "start_reference_url",
    "end_reference_url",
    "exact_copy_mode",
    "compel_weights",
)


class SdxlEngine(Engine):
    """Text to image: a picture for each index, in batches as large as the device bears."""

    requires = ("torch", "diffusers", "transformers")

    def __init__(self, model: str, device: str) -> None:
        super().__init__(model or DEFAULT_MODEL, device)
        self._pipe: Any = None

    def check(self, request: Request) -> None:
        if request.medium is not Medium.image:
            raise RejectedError("medium must be image: the sdxl engine makes no videos.")
        for field in UNSUPPORTED:
            if getattr(request, field):
                raise RejectedError(f"{field} is not supported by the sdxl engine yet.")
        for field in ("width", "height"):
            if getattr(request, field) % MULTIPLE:
                raise RejectedError(f"{field} must be a multiple of {MULTIPLE} pixels for the sdxl engine.")
        check_scheduler(request.scheduler, request.steps)

    def load(self) -> None:
        if self._pipe is not None:
            return
        diffusers = diffusion.import_diffusers()
        device = diffusion.choose_device(self.device)
        dtype = diffusion.choose_dtype(device)
        pipe = checkpoint.open_pipeline(
            diffusers.StableDiffusionXLPipeline,
            self.model,
            tiny=tiny.build_sdxl,
            device=device,
            dtype=dtype,
            setting="CONSUMER_MODEL_SDXL",
        )
        pipe.set_progress_bar_config(disable=True)
        # To decode a whole batch at once would be the peak of memory, at the very end of the work.
        pipe.vae.enable_slicing()
        self._dtype = dtype
        self._most_at_once = MOST_AT_ONCE.get(device.type, 1)
        self._scheduler = pipe.scheduler
        self._name = checkpoint.model_name(self.model)
        self._pipe = pipe

    def generate(self, request: Request, indexes: Sequence[int], on_step: OnStep) -> Iterator[Output]:
        self.check(request)
        self.load()
        pipe = self._pipe
        pipe.scheduler = make_scheduler(request.scheduler, self._scheduler, request.steps)
        total = len(pipe.scheduler.timesteps)
        on_step(indexes, 0, total)
        prompt = diffusion.guarded(lambda: self._encode(request))
        on_step(indexes, 0, total)
        metadata = self._metadata(request)

        def draw(batch: Sequence[int]) -> list[Output]:
            pixels = diffusion.guarded(lambda: self._draw(request, prompt, batch, on_step))
            on_step(batch, total, total)
            used = {**metadata, "steps": pipe.num_timesteps, "batch_size": len(batch)}
            return [
                Output(index=index, seed=request.seed + index, pixels=picture, metadata=used)
                for index, picture in zip(batch, pixels, strict=True)
            ]

        yield from diffusion.in_batches(indexes, self._most_at_once, draw)

    def _encode(self, request: Request) -> dict[str, Any]:
        """The prompts as keyword arguments of the pipeline, good for every batch of a job."""
        import torch

        names = [f"{sign}{kind}_embeds" for kind in ("prompt", "pooled_prompt") for sign in ("", "negative_")]
        try:
            with torch.no_grad():
                embeddings = self._pipe.encode_prompt(
                    request.prompt,
                    # Without a text SDXL expects zeros, which an empty text does not give.
                    negative_prompt=request.negative_prompt or None,
                    do_classifier_free_guidance=request.guidance_scale > 1,
                )
        finally:
            self._pipe.maybe_free_model_hooks()
        return dict(zip(names, embeddings, strict=True))

    def _draw(
        self, request: Request, prompt: Mapping[str, Any], batch: Sequence[int], on_step: OnStep
    ) -> NDArray[np.uint8]:
        """The pictures of one batch: uint8 (n, height, width, 3)."""
        pipe = self._pipe
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
            pipe.vae.to(self._dtype)

    def _metadata(self, request: Request) -> dict[str, Any]:
        """What is the same for all pictures of a job."""
        metadata: dict[str, Any] = {
            "model": self._name,
            "guidance_scale": request.guidance_scale,
            "scheduler": scheduler_name(self._pipe.scheduler),
            "dtype": str(self._dtype).removeprefix("torch."),
        }
        for field in ("prompt", "negative_prompt"):
            if self._is_cut(getattr(request, field)):
                metadata[f"{field}_truncated"] = True
        return metadata

    def _is_cut(self, text: str) -> bool:
        tokenizers = (self._pipe.tokenizer, self._pipe.tokenizer_2)
        return any(len(tokenizer(text).input_ids) > tokenizer.model_max_length for tokenizer in tokenizers)
