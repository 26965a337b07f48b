"""What single models need: steps, guidance and scheduler of few-step models, as data (profiles.toml)."""

from collections.abc import Mapping
from typing import Any


def profile(engine: str, model: str) -> Mapping[str, Any]:
    """The request fields that `model` wants where a request is silent; nothing for a model like any other."""
    return {}
