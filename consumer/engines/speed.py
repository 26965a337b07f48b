"""What makes a pipeline faster on a GPU than diffusers' defaults do."""

from typing import TYPE_CHECKING, Any

from consumer.engines.base import Options

if TYPE_CHECKING:
    import torch


def prepare(pipe: Any, options: Options, device: "torch.device") -> None:
    """Set up a pipeline that was just built, once."""


def compiles(pipe: Any) -> bool:
    """Whether the next call of `pipe` compiles first, which takes minutes."""
    return False
