"""A tiny generation in a process of its own: `python -m consumer.doctor.generation ENGINE DEVICE`.

Prints one JSON object: seconds, and where there is a GPU, device, free and total (bytes of its memory). Where the
engine cannot work, the sentence that says why is on stderr and the exit code is 1.
"""

import json
import sys
import time
from typing import Any

from consumer import engines
from consumer.engines import diffusion
from consumer.engines.base import Options
from consumer.errors import ConsumerError
from consumer.job import Medium
from consumer.request import Request

MODELS = {"sketch": "", "sdxl": "tiny", "wan": "tiny"}
"""The engines that can be tried without a model, and the model that they take then."""

SIZE = 64


def main(engine: str, device: str) -> dict[str, Any]:
    """Make one small picture; raises ConsumerError."""
    memory = diffusion.memory(device) if engine != "sketch" else None
    before = time.monotonic()
    maker = engines.create(engine, MODELS[engine], Options(device=device))
    request = Request(
        job_type="doctor", medium=Medium.image, prompt="a probe", count=1, seed=0, steps=1, guidance_scale=5.0,
        width=SIZE, height=SIZE,
    )  # fmt: skip
    [output] = maker.generate(request, [0], lambda *_: None)
    if output.pixels.shape != (SIZE, SIZE, 3):
        raise ConsumerError("The engine made a picture of another size than it was asked for.")
    return {"seconds": time.monotonic() - before, **(memory or {})}


if __name__ == "__main__":
    try:
        print(json.dumps(main(*sys.argv[1:])))  # noqa: T201 it is the result
    except ConsumerError as error:
        sys.exit(str(error))
