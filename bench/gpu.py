"""What our engines bring on a GPU: `python bench/gpu.py [--only sdxl|wan] [--tiny]`.

SDXL at 1024 x 1024 and WAN 1.3B with 81 frames of 480 x 832, of full size and with random weights, so that nothing is
fetched: by the plain loop of diffusers that one would write by hand, by our engine as it comes, and by our engine with
CONSUMER_SPEED=fast. Scheduler, steps, guidance, size and seeds are the same. The clock runs from the first prompt until
the last file is written; what our engines make is encoded beside them in two threads, thumbnails included, as the
worker does it. `--tiny` goes through everything with tiny models on the CPU.
"""

import argparse
import gc
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

import encode
from consumer.encode import Pixels, thumbnail
from consumer.encode import encode as encoded
from consumer.engines import diffusion, tiny, tiny_wan
from consumer.engines.base import Engine, Options, Output, Phase
from consumer.engines.sdxl import SdxlEngine
from consumer.engines.wan import WanEngine
from consumer.job import Medium
from consumer.request import Request
from tables import table

FLOAT16, BFLOAT16, FLOAT32 = "float16", "bfloat16", "float32"
ENCODERS = 2
WARM_STEPS = 2


@dataclass(frozen=True, slots=True)
class Run:
    """What one way took for all jobs, in seconds and bytes, and the first picture, or the middle of the first video."""

    batch: int
    first_call: float
    seconds: float
    peak: int
    pixels: Pixels


@dataclass(frozen=True, slots=True)
class Subject:
    """One model, and what is asked of it. `build` makes a pipeline on a device in a dtype by its name; `plain` goes
    through a request by hand, and leaves its files in a folder; `dtypes` are those that one would take by hand."""

    name: str
    build: Callable[[str, str], Any]
    plain: Callable[[Any, Request, Path], Pixels]
    engine: type[Engine]
    dtypes: Sequence[str]
    request: Request
    jobs: int

    @property
    def requests(self) -> list[Request]:
        """One for each job, with seeds of its own."""
        first = self.request
        return [
            first.model_copy(update={"seed": first.seed + number * first.count, "extra": {"job": number}})
            for number in range(self.jobs)
        ]

    @property
    def warm_up(self) -> Request:
        """The first call, which sets up whatever is set up once."""
        return self.request.model_copy(update={"steps": WARM_STEPS})


def arguments(request: Request, index: int = 0) -> dict[str, Any]:
    """What both pipelines take, with the seed of one asset."""
    import torch

    return {
        "prompt": request.prompt,
        "width": request.width,
        "height": request.height,
        "num_inference_steps": request.steps,
        "guidance_scale": request.guidance_scale,
        "generator": torch.Generator("cpu").manual_seed(request.seed + index),
    }


def plain_pictures(pipe: Any, request: Request, folder: Path) -> Pixels:
    """One after the other, as the model's page does it; the first one is returned."""
    pictures = []
    for index in range(request.count):
        pictures.append(pipe(**arguments(request, index)).images[0])
        pictures[-1].save(folder / f"{request.seed + index}.png")
    return np.asarray(pictures[0])


def plain_video(pipe: Any, request: Request, folder: Path) -> Pixels:
    """As the model's page does it, but that PyAV writes the file; the middle frame is returned."""
    frames = pipe(**arguments(request), num_frames=request.num_frames).frames[0]
    pixels = (frames * 255).round().astype(np.uint8)
    (folder / f"{request.seed}.mp4").write_bytes(encode.pyav_mp4(pixels))
    middle: Pixels = pixels[len(pixels) // 2]
    return middle


def by_hand(subject: Subject, device: str, dtype: str, folder: Path) -> Run:
    """The plain loop."""
    pipe = subject.build(device, dtype)
    pipe.set_progress_bar_config(disable=True)
    first_call = timed(lambda: subject.plain(pipe, subject.warm_up.model_copy(update={"count": 1}), folder))
    made: list[Pixels] = []
    watch_peak()
    seconds = timed(lambda: made.extend(subject.plain(pipe, request, folder) for request in subject.requests))
    return Run(1, first_call, seconds, peak(), made[0])


def by_engine(subject: Subject, device: str, dtype: str, folder: Path, speed: Any) -> Run:
    """Our engine, and the encoders beside it."""
    engine = subject.engine("tiny", Options(device=device, speed=speed))
    build = partial(subject.build, device, dtype)
    # The weights of the model `tiny` are made and not read; here they are made in full size.
    with patch.object(tiny, "build_sdxl", build), patch.dict(tiny_wan.BUILDERS, tiny=build):  # type: ignore[arg-type]
        engine.load("tiny")
    indexes = range(subject.request.count)
    first_call = timed(lambda: list(engine.generate(subject.warm_up, indexes, unwatched)))
    outputs: list[Output] = []
    peaks = []

    def work() -> None:
        with ThreadPoolExecutor(ENCODERS) as encoders:
            files = []
            for request in subject.requests:
                for output in engine.generate(request, indexes, unwatched):
                    files.append(encoders.submit(keep, output, folder))
                    outputs.append(output)
                # The engine counts anew for each job.
                peaks.append(peak())
            for file in files:
                file.result()

    seconds = timed(work)
    first = outputs[0]
    pixels = first.pixels if first.fps is None else first.pixels[len(first.pixels) // 2]
    return Run(first.metadata["batch_size"], first_call, seconds, max(peaks), pixels)


def unwatched(indexes: Sequence[int], done: int, total: int, phase: Phase = Phase.step) -> None:
    """Nobody asks how far it is."""


def keep(output: Output, folder: Path) -> None:
    """What the worker does with an output, up to the upload."""
    for kind, file in (("", encoded(output.pixels, output.fps)), (".thumb", thumbnail(output.pixels))):
        (folder / f"{output.seed}{kind}.{file.extension}").write_bytes(file.data)


def timed(work: Callable[[], Any]) -> float:
    """Seconds."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def watch_peak() -> None:
    """From now on, `peak` tells of what comes."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak() -> int:
    """The most bytes that tensors took on the GPU."""
    import torch

    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0


def compare(subject: Subject, device: str, usual: str) -> list[dict[str, Any]]:
    """The rows of one model; `usual` is the dtype of our engines. A way that fails says so in its row."""
    ways: list[tuple[str, str, Callable[..., Run]]] = [
        *(("diffusers, by hand", dtype, by_hand) for dtype in subject.dtypes),
        ("our engine", usual, partial(by_engine, speed="default")),
        ("our engine, fast", usual, partial(by_engine, speed="fast")),
    ]
    rows, runs = [], dict[str, Run]()
    for name, dtype, way in ways:
        try:
            with tempfile.TemporaryDirectory() as folder:
                run = way(subject, device, dtype, Path(folder))
                assert len([file for file in Path(folder).iterdir() if ".thumb" not in file.name]) == files(subject)
        except Exception as error:  # noqa: BLE001 the other rows are worth having
            traceback.print_exc()
            rows.append(row(subject, name, dtype, None) | {"each s": f"failed: {type(error).__name__}"})
        else:
            runs.setdefault("first", run)
            runs.setdefault(dtype, run)
            rows.append(row(subject, name, dtype, run, runs["first"], runs[dtype]))
        print(rows[-1], file=sys.stderr, flush=True)
        clean_up()
    return rows


def files(subject: Subject) -> int:
    """How many pictures or videos are made."""
    return subject.jobs * subject.request.count


def row(
    subject: Subject, way: str, dtype: str, run: Run | None, first: Run | None = None, alike: Run | None = None
) -> dict[str, Any]:
    """A row of the table. `first` is the run to compare the time with, `alike` the one to compare the pixels with."""
    head = {"model": subject.name, "way": way, "dtype": dtype, "steps": subject.request.steps, "made": files(subject)}
    if run is None or first is None or alike is None:
        return head | dict.fromkeys(
            ("batch", "each s", "a minute", "times as fast", "VRAM GiB", "first s", "off by"), ""
        )
    each = run.seconds / files(subject)
    return head | {
        "batch": run.batch,
        "each s": f"{each:.3g}",
        "a minute": f"{60 / each:.3g}",
        "times as fast": f"{first.seconds / run.seconds:.2f}",
        "VRAM GiB": round(run.peak / 2**30, 1),
        "first s": round(run.first_call, 1),
        "off by": round(float(np.abs(run.pixels.astype(int) - alike.pixels).mean()), 2),
    }


def clean_up() -> None:
    """Let the next way begin as the first one did."""
    import torch

    torch.set_float32_matmul_precision("highest")
    torch._dynamo.reset()
    gc.collect()
    diffusion.free_memory()


def subjects(small: bool, dtype: str) -> list[Subject]:
    """The models; `dtype` is the one of our engines here."""
    import full_size

    common: dict[str, Any] = {"prompt": "a lighthouse on a cliff at dusk", "seed": 40}
    picture = Request(
        job_type="sdxl_image_fast", medium=Medium.image, count=2 if small else 4, guidance_scale=6.5, **common,
        **({"steps": 2, "width": 64, "height": 64} if small else {"steps": 25, "width": 1024, "height": 1024}),
    )  # fmt: skip
    size = {"width": 64, "height": 32, "num_frames": 5} if small else {"width": 832, "height": 480, "num_frames": 81}
    video = Request(
        job_type="video_fast", medium=Medium.video, count=1, guidance_scale=6.5, sized=True,
        steps=2 if small else 10, **size, **common,
    )  # fmt: skip
    builds: list[Callable[[str, str], Any]] = [full_size.build_sdxl, full_size.build_wan]
    if small:
        build_sdxl, build_wan = tiny.build_sdxl, tiny_wan.build_wan
        builds = [lambda *_: build_sdxl(), lambda *_: build_wan()]
    # SDXL's page says float16, which costs a VAE in float32; WAN's says bfloat16.
    halves = list(dict.fromkeys([FLOAT32] if small else [FLOAT16, dtype]))
    return [
        Subject("tiny SDXL" if small else "SDXL", builds[0], plain_pictures, SdxlEngine, halves, picture, 2),
        Subject("tiny WAN" if small else "WAN 1.3B", builds[1], plain_video, WanEngine, [dtype], video, 2),
    ]


def main() -> None:
    """One table, and beside it on stderr each row as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", choices=("sdxl", "wan"), help="one of the models (default: both)")
    parser.add_argument("--tiny", "--quick", action="store_true", help="tiny models on the CPU, to see that it runs")
    options = parser.parse_args()
    diffusers = diffusion.import_diffusers()
    import torch

    if not options.tiny and not torch.cuda.is_available():
        sys.exit("There is no GPU here, so there is nothing to measure; --tiny goes through it all on the CPU.")
    device = "cpu" if options.tiny else "cuda"
    usual = str(diffusion.choose_dtype(torch.device(device))).removeprefix("torch.")
    found = diffusion.memory(device)
    print(f"{found['device'] if found else 'CPU'}, torch {torch.__version__}, diffusers {diffusers.__version__}\n")
    rows = []
    for subject in subjects(options.tiny, usual):
        if options.only is None or options.only in subject.name.lower():
            rows += compare(subject, device, usual)
    table(rows)
    if any(not row["batch"] for row in rows):
        sys.exit("Not all of it worked.")


if __name__ == "__main__":
    main()
