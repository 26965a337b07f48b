"""Prompts rewritten by a chat model before anything is drawn from them."""

from dataclasses import dataclass, field
from typing import Any

from consumer.engines.base import OnStep, Options, Phase
from consumer.engines.residency import Residency
from consumer.request import Request


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A prompt, and what is told of how it came about (model, seconds, tokens, ...); never the text itself."""

    prompt: str
    metadata: dict[str, Any] = field(default_factory=dict)


class Enhancer:
    """Rewrites prompts; like an engine, it is called from the lane alone."""

    requires = ("torch", "transformers")

    def __init__(self, model: str, options: Options, residency: Residency) -> None:
        """`model`: hub id, folder or `tiny`; "" for Qwen/Qwen2.5-7B-Instruct."""
        self.model = model
        self.options = options
        self.residency = residency

    def rewrite(self, request: Request, on_step: OnStep) -> Rewritten:
        """The prompt of `request`, rewritten for what it asks for by `request.enhancement_model`.

        Raises EngineUnusableError, OutOfMemoryError, or lets StoppedError of `on_step` pass."""
        on_step((), 0, 1, Phase.enhance)
        return Rewritten(request.prompt)
