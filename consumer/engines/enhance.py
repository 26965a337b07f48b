"""Prompts rewritten by a language model before anything is drawn from them."""

import logging
import time
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.util import find_spec
from typing import Any

from consumer import events
from consumer.engines import chat
from consumer.engines.answers import clean
from consumer.engines.base import OnStep, Options, Phase
from consumer.engines.checkpoint import model_name
from consumer.engines.residency import Residency
from consumer.engines.templates import template
from consumer.errors import EngineUnusableError
from consumer.request import Request

INSTRUCT = "Qwen/Qwen2.5-7B-Instruct"
BASE = "Qwen/Qwen2.5-7B"


class Result(StrEnum):
    """What became of a prompt, as metadata tells it; all but the first leave it as it was."""

    rewritten = "rewritten"
    timed_out = "timed out"
    no_prompt = "the answer was no prompt"
    no_model = "no language model here"


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A prompt, None where the original stays; and what is told of it (result, model, seconds, tokens), never the text
    itself."""

    prompt: str | None
    metadata: dict[str, Any] = field(default_factory=dict)


UNTOUCHED = Rewritten(None, {"result": Result.no_model})
"""Where no language model can be had."""


class Enhancer:
    """Rewrites prompts; like an engine, it is called from the lane alone."""

    requires = ("torch", "transformers")

    def __init__(self, model: str, options: Options, residency: Residency) -> None:
        """`model`: hub id, folder or `tiny`; "" for Qwen/Qwen2.5-7B-Instruct."""
        self.model = model
        self.options = options
        self.residency = residency
        self._tokenizers: dict[str, Any] = {}
        self._out_of_reach: set[str] = set()

    def rewrite(self, request: Request, engine: str, on_step: OnStep) -> Rewritten:
        """The prompt of `request`, rewritten for `engine` by the language model that it names.

        A model of the settings must load; without the default one, which nobody chose, the prompt stays as it is.
        Raises EngineUnusableError, OutOfMemoryError, or lets StoppedError of `on_step` pass."""
        chats = request.enhancement_model != "qwen_base"
        chosen = self.model if chats else self.options.models.get("enhance_base", "")
        model = chosen or (INSTRUCT if chats else BASE)
        if model in self._out_of_reach:
            return UNTOUCHED
        on_step((), 0, self.options.enhance_tokens, Phase.load)
        with ExitStack() as stack:
            try:
                loaded = stack.enter_context(self._use(model, chats=chats))
            except EngineUnusableError as error:
                if chosen:
                    raise
                # A user asks for it with a word in a request, and must not be able to end a worker with that.
                self._out_of_reach.add(model)
                events.emit("enhancer.unavailable", level=logging.WARNING, error=events.describe(error))
                return UNTOUCHED
            return self._rewrite(loaded, model, request, engine, on_step, chats=chats)

    def _use(self, model: str, *, chats: bool) -> AbstractContextManager[Any]:
        role = "enhance" if chats else "enhance_base"

        def build() -> Any:
            loaded, tokenizer = chat.open_chat(
                model, self.residency.dtype, chats=chats, setting=f"CONSUMER_MODEL_{role.upper()}"
            )
            self._tokenizers[model] = tokenizer
            return loaded

        return self.residency.use(f"{role}:{model_name(model)}", build)

    def _rewrite(
        self, loaded: Any, model: str, request: Request, engine: str, on_step: OnStep, *, chats: bool
    ) -> Rewritten:
        tokenizer, started = self._tokenizers[model], time.monotonic()
        question = chat.encode(tokenizer, template(engine, request.medium), request.prompt, chats=chats)
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
        seconds = round(time.monotonic() - started, 2)
        told = {"result": result, "model": model_name(model), "seconds": seconds, "tokens": answer.tokens}
        return Rewritten(prompt, told)


def create(model: str, options: Options, residency: Residency) -> Enhancer | None:
    """An Enhancer, not yet loaded; None where a module that it needs is not installed. None of them is imported."""
    if any(find_spec(module) is None for module in Enhancer.requires):
        return None
    return Enhancer(model, options, residency)
