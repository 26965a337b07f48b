"""Videos, and single pictures, with WAN."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from consumer.engines import checkpoint, lora, memory, speed, wan_frames, wan_models, wan_schedulers
from consumer.engines.base import Engine, OnStep, Options, Output, Phase
from consumer.engines.residency import Residency
from consumer.engines.wan_drawing import Drawing
from consumer.errors import RejectedError
from consumer.job import Medium
from consumer.request import Request

DEFAULT_MODEL = "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"
MULTIPLE = 16
# Of a whole video: as many as the largest models make, which is 121 frames at 720p.
MOST_PIXELS = 1280 * 720 * 121
MOST_PICTURES_AT_ONCE = {"cuda": 4, "cpu": 2}


class WanEngine(Engine):
    """Text to video, image to video, first and last frame to video, and pictures, which are videos of one frame.

    What begins with a picture goes to the model that CONSUMER_MODEL_WAN_I2V names, where the job's own cannot do it.
    `motion_intensity` has no effect: WAN has nothing that it could stand for.
    """

    requires = ("torch", "diffusers", "transformers", "peft", "ftfy")
    references = tuple(wan_frames.GIVEN)

    def __init__(self, model: str, options: Options, residency: Residency | None = None) -> None:
        super().__init__(model or DEFAULT_MODEL, options, residency)
        self._residency = residency or Residency(options)
        self._abilities: dict[str, wan_models.Abilities] = {}

    def check(self, request: Request) -> None:
        if request.exact_copy_mode:
            raise RejectedError("exact_copy_mode is not supported by the wan engine.")
        if request.compel_weights:
            raise RejectedError("compel_weights is not supported by the wan engine.")
        for field in wan_frames.GIVEN:
            if getattr(request, field) and request.medium is Medium.image:
                raise RejectedError(f"{field} is for videos, and {request.job_type} makes pictures.")
        if request.end_reference_url and not request.start_reference_url:
            raise RejectedError("end_reference_url needs a start_reference_url.")
        for field in ("width", "height"):
            if request.sized and getattr(request, field) % MULTIPLE:
                raise RejectedError(f"{field} must be a multiple of {MULTIPLE} pixels for the wan engine.")
        most = MOST_PIXELS // (request.width * request.height)
        if request.num_frames > most:
            size = f"{request.width}x{request.height}"
            raise RejectedError(f"num_frames must be at most {4 * ((most - 1) // 4) + 1} at {size}.")
        wan_schedulers.check_scheduler(request.scheduler)
        lora.check(request.lora, self.options.lora_dir)
        self.model_for(request)

    def model_for(self, request: Request) -> str:
        """The first of our models that can make this, or that may, for all that is known before it is loaded.

        Raises RejectedError when none can."""
        models = [request.model or self.model]
        if request.start_reference_url and "wan_i2v" in self.options.models:
            models.append(self.options.models["wan_i2v"])
        for model in models:
            abilities = self._abilities.get(model) or wan_models.abilities_on_disk(model)
            refusal = abilities and abilities.refusal(request)
            if not refusal:
                return model
        raise RejectedError(refusal)

    def resident(self, model: str) -> bool:
        """As in `Engine.resident`. What begins with a picture may need another model, and only the request tells that,
        not the job type: so either of the two will do."""
        models = (model or self.model, self.options.models.get("wan_i2v"))
        return any(self._residency.fits(checkpoint.key("wan", each)) for each in models if each)

    def load(self, model: str) -> None:
        with self._residency.use(checkpoint.key("wan", model), partial(self._open, model)) as pipe:
            self._abilities[model] = wan_models.abilities_of(pipe)

    def _open(self, model: str) -> Any:
        pipe = wan_models.open_model(model, self._residency.dtype, self._residency.parts, self._setting(model))
        speed.prepare(pipe, self.options, self._residency.device)
        return pipe

    def _setting(self, model: str) -> str:
        """Where `model` was named."""
        if model == self.model:
            return "CONSUMER_MODEL_WAN"
        return "CONSUMER_MODEL_WAN_I2V" if model == self.options.models.get("wan_i2v") else "CONSUMER_JOB_TYPES"

    def generate(self, request: Request, indexes: Sequence[int], on_step: OnStep) -> Iterator[Output]:
        self.check(request)
        on_step(indexes, 0, request.steps, Phase.load)
        while (model := self.model_for(request)) not in self._abilities:
            self.load(model)
        key = checkpoint.key("wan", model)
        with (
            self._residency.use(key, partial(self._open, model), size=memory.size(request)) as pipe,
            ExitStack() as loras,
        ):
            applied = partial(lora.applied, pipe, request.lora, self.options.lora_dir)
            memory.relieved(lambda: loras.enter_context(applied()), self._residency.relief(key, vae=False))
            drawing = Drawing(pipe, request, self._abilities[model].multiple, on_step)
            drawing.told |= self._told(model, request)
            memory.relieved(partial(drawing.encode, indexes), self._residency.relief(key, vae=False))
            most = MOST_PICTURES_AT_ONCE.get(self._residency.device.type, 1) if request.medium is Medium.image else 1
            with drawing.scheduled():
                yield from memory.in_batches(indexes, most, drawing.draw, self._residency.relief(key))

    def _told(self, model: str, request: Request) -> dict[str, Any]:
        told: dict[str, Any] = {
            "model": checkpoint.model_name(model),
            "dtype": str(self._residency.dtype).removeprefix("torch."),
        }
        if request.lora:
            told["lora"] = [{"name": name, "strength": strength} for name, strength in request.lora]
        return told
