"""Prompts rewritten by a language model before anything is drawn from them."""

import logging
import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.util import find_spec
from typing import Any

from consumer import events
from consumer.engines import chat, words
from consumer.engines.answers import clean
from consumer.engines.base import OnStep, Options, Phase
from consumer.engines.checkpoint import model_name
from consumer.engines.diffusion import free_memory
from consumer.engines.residency import Residency
from consumer.engines.templates import template
from consumer.errors import EngineUnusableError, ModelUnusableError, OutOfMemoryError, StoppedError
from consumer.request import Request

INSTRUCT = "Qwen/Qwen2.5-7B-Instruct"
BASE = "Qwen/Qwen2.5-7B"

RETRY_SECONDS = 600.0
"""So long a model that could not be loaded is left alone: the hub, or the folder, may come back."""


class Result(StrEnum):
    """What became of a prompt, as metadata tells it; all but the first leave it as it was."""

    rewritten = "rewritten"
    timed_out = "timed out"
    no_prompt = "the answer was no prompt"
    failed = "failed"
    not_loaded = "no language model could be loaded"
    no_model = "no language model here"


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A prompt, None where the original stays; and what is told of it (result; model, seconds and tokens where there
    was an answer), never the text itself."""

    prompt: str | None
    metadata: dict[str, Any] = field(default_factory=dict)


UNTOUCHED = Rewritten(None, {"result": Result.no_model})
"""Where nothing is installed that could rewrite."""


class Enhancer:
    """Rewrites prompts; like an engine, it is called from the lane alone."""

    requires = ("torch", "transformers")

    def __init__(
        self, model: str, options: Options, residency: Residency, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`model`: hub id, folder or `tiny`; "" for Qwen/Qwen2.5-7B-Instruct."""
        self.models = {"enhance": model or INSTRUCT, "enhance_base": options.models.get("enhance_base") or BASE}
        self.options = options
        self.residency = residency
        self._clock = clock
        self._tokenizers: dict[str, Any] = {}
        self._left_alone_until: dict[str, float] = {}

    def rewrite(self, request: Request, engine: str, on_step: OnStep) -> Rewritten:
        """The prompt of `request`, rewritten for `engine` by the language model that it names; or why it stays.

        No job fails for want of another prompt. Only a device that failed raises EngineUnusableError, and StoppedError
        of `on_step` passes."""
        role = "enhance_base" if request.enhancement_model == "qwen_base" else "enhance"
        if self._clock() < self._left_alone_until.get(role, -math.inf):
            return Rewritten(None, {"result": Result.not_loaded})
        try:
            with suppress(OutOfMemoryError):
                return self._rewrite(request, role, engine, on_step)
            # Only out here does nothing hold what the first try left behind.
            free_memory()
            return self._rewrite(request, role, engine, on_step)
        except ModelUnusableError as error:
            # A user asks for it with a word in a request, and must not be able to end a worker with that.
            self._leave_alone(role, error)
            return Rewritten(None, {"result": Result.not_loaded})
        except (StoppedError, EngineUnusableError):
            raise
        except Exception as error:  # noqa: BLE001 whatever a foreign model, tokenizer or chat template comes up with
            events.emit("enhancer.failed", level=logging.WARNING, error=type(error).__name__)
            return Rewritten(None, {"result": Result.failed})

    def _leave_alone(self, role: str, error: ModelUnusableError) -> None:
        self._left_alone_until[role] = self._clock() + RETRY_SECONDS
        events.emit(
            "enhancer.unavailable",
            level=logging.ERROR,
            setting=f"CONSUMER_MODEL_{role.upper()}",
            retry_seconds=RETRY_SECONDS,
            error=events.describe(error),
        )

    def _rewrite(self, request: Request, role: str, engine: str, on_step: OnStep) -> Rewritten:
        model, chats = self.models[role], role == "enhance"

        def build() -> Any:
            loaded, self._tokenizers[model] = chat.open_chat(model, self.residency.dtype, chats=chats)
            return loaded

        on_step((), 0, self.options.enhance_tokens, Phase.load)
        with self.residency.use(f"{role}:{model_name(model)}", build) as loaded:
            tokenizer, started = self._tokenizers[model], self._clock()
            # Weights are for the engine, and mean nothing to a language model.
            text = "".join(part for part, _ in words.weigh(request.prompt))
            question = chat.encode(tokenizer, template(engine, request.medium), text, chats=chats)
            answer = chat.ask(
                loaded,
                tokenizer,
                question,
                self.residency.device,
                seed=request.seed,
                most=self.options.enhance_tokens,
                seconds=self.options.enhance_seconds,
                one_line=not chats,
                on_step=on_step,
            )
        prompt = None if answer.late else clean(answer.text, cut=answer.cut) or None
        result = Result.timed_out if answer.late else Result.rewritten if prompt else Result.no_prompt
        seconds = round(self._clock() - started, 2)
        told = {"result": result, "model": model_name(model), "seconds": seconds, "tokens": answer.tokens}
        return Rewritten(prompt, told)


def create(model: str, options: Options, residency: Residency) -> Enhancer | None:
    """An Enhancer, not yet loaded; None where a module that it needs is not installed. None of them is imported."""
    if any(find_spec(module) is None for module in Enhancer.requires):
        return None
    return Enhancer(model, options, residency)
