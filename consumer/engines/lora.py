"""LoRAs by name, from the folder that the operator configured."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from consumer.errors import RejectedError

Loras = Sequence[tuple[str, float]]


def check(loras: Loras, folder: Path | None) -> None:
    """Raise RejectedError for a LoRA that is not there. Cheap."""
    if loras:
        raise RejectedError("lora is not supported yet.")


@contextmanager
def applied(pipe: Any, loras: Loras, folder: Path | None) -> Iterator[None]:
    """`pipe` with these LoRAs (name, strength), for as long as the `with` lasts, and without any other.

    Raises RejectedError for a file that is no LoRA of this model."""
    yield
