"""The engines: whether each can be imported, has its model and its device, and makes a picture."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from consumer import child, engines, job_types
from consumer.doctor.finding import Findings, WrongError, note, ok, skip, wrong
from consumer.doctor.generation import MODELS
from consumer.doctor.subject import Subject
from consumer.engines.checkpoint import HUB_ID, TINY
from consumer.errors import EngineUnusableError

INSTALL = "pip install 'consumer[gpu]'"
SECONDS = 120.0
"""What a tiny generation may take: importing the libraries from a cold disk is most of it."""

ROOM = 20 * 1024**3
"""Bytes: SDXL takes 7 GB in half precision, other models more."""

LITTLE_MEMORY = 8 * 1024**3


def importable(subject: Subject) -> Findings:
    """Every engine that this worker is to have can be imported."""
    chosen = subject.settings.engines
    for unknown in sorted(set(chosen) - set(engines.names())):
        yield wrong(
            f"CONSUMER_ENGINES names {unknown}, and there is none.", f"Name one of: {', '.join(engines.names())}."
        )
    for name in engines.names():
        reason = unusable(name)
        if reason is None:
            yield ok(f"{name} can be imported.")
        elif name in chosen:
            yield wrong(reason, INSTALL)
        else:
            yield note(reason, INSTALL)


def unusable(name: str) -> str | None:
    """Why an engine cannot be imported here."""
    try:
        missing = engines.missing(name)
    except EngineUnusableError as error:
        return str(error)
    return f"The engine {name} needs {', '.join(missing)}, not installed here." if missing else None


def served(subject: Subject) -> Findings:
    """Some job type names one of the engines; a worker that serves none does not start."""
    settings = subject.settings
    names = settings.engines or engines.available()
    found = job_types.served(job_types.load(settings.job_types), names, stand_in=settings.stand_in)
    if found:
        yield ok(f"{len(found)} job types are served by {', '.join(names)}.")
    else:
        yield wrong(
            f"No job type names one of the engines {', '.join(names)}.", "Set CONSUMER_ENGINES; see `consumer engines`."
        )


def models(subject: Subject) -> Findings:
    """Models that are files are there; for those that are downloaded there is room."""
    downloads = False
    settings = subject.settings
    for name, model in {**settings.models, **settings.further_models}.items():
        if model.startswith(TINY) or not needed(name, subject):
            continue
        path = Path(model).expanduser()
        if path.exists() and model:
            yield ok(f"The model of {name} is on this machine.")
        elif model and not HUB_ID.fullmatch(model):
            yield wrong(
                f"The model of {name} is not there.",
                f"Set CONSUMER_MODEL_{name.upper()} to a file, a folder or a hub id.",
            )
        else:
            downloads = True
    folder = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if downloads and free < ROOM:
        yield note(f"The disk for downloaded models has {free // 1024**3} GiB left.", "Make room, or set HF_HOME.")
    else:
        yield ok(f"The disk for downloaded models has {free // 1024**3} GiB left.")


def needed(name: str, subject: Subject) -> bool:
    """Whether a worker here would use the model that CONSUMER_MODEL_{name} names."""
    if name.startswith("enhance"):
        known = job_types.load(subject.settings.job_types).values()
        return any(each.defaults.get("enhance") and each.engine in wanted(subject) for each in known)
    return name.removesuffix("_i2v") in wanted(subject)


def loras(subject: Subject) -> Findings:
    """The folder of LoRAs is there."""
    folder = subject.settings.lora_dir
    if folder is None:
        yield skip("CONSUMER_LORA_DIR is not set: requests can name no LoRA.")
    elif not folder.is_dir():
        yield wrong("CONSUMER_LORA_DIR is no folder.", "Set it to the folder that holds NAME.safetensors.")
    else:
        yield ok(f"CONSUMER_LORA_DIR has {len(list(folder.glob('*.safetensors')))} LoRAs.")


def device(subject: Subject) -> Findings:
    """The device works, and how much of its memory is free."""
    if not (found := tried(subject, "sdxl")):
        yield skip(UNTRIED)
    elif "free" not in found:
        yield note("There is no GPU here: engines that need one will be very slow.")
    elif found["free"] < LITTLE_MEMORY:
        yield note(f"{memory(found)}: too little for most models.", "Stop what else uses the GPU: nvidia-smi")
    else:
        yield ok(f"{memory(found)}.")


def memory(found: dict[str, Any]) -> str:
    """What is told of a GPU."""
    return f"{found['device']}: {found['free'] / 1024**3:.1f} of {found['total'] / 1024**3:.1f} GiB are free"


UNTRIED = "No engine that uses a device is here, or --quick leaves it out."


def generation(subject: Subject) -> Findings:
    """Each engine that needs no model makes a tiny picture, in a process of its own."""
    for name in MODELS:
        if found := tried(subject, name):
            yield ok(f"{name} made a tiny picture in {found['seconds']:.1f} seconds.")
        else:
            yield skip(f"{name} was not tried: it cannot be imported, or --quick leaves it out.")


def tried(subject: Subject, name: str) -> dict[str, Any]:
    """What came of a tiny generation, or nothing where none is to be made. Raises what `Part.get` raises."""
    if subject.quick or name not in wanted(subject):
        return {}
    return subject.part(f"engine {name}", lambda: generated(name, subject.settings.device), f"{name} makes no picture.")


def wanted(subject: Subject) -> list[str]:
    """The engines that a worker here would have and that can be imported."""
    return [name for name in engines.available() if name in (subject.settings.engines or engines.names())]


def generated(name: str, device: str) -> dict[str, Any]:
    """The report of `consumer.doctor.generation`. Raises WrongError."""
    command = [sys.executable, "-m", "consumer.doctor.generation", name, device]
    try:
        done = subprocess.run(  # noqa: S603
            child.dying_with_us(command, signal.SIGKILL), capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise WrongError(
            f"{name} made no picture within {SECONDS:g} seconds.", "See nvidia-smi and dmesg: a device may hang."
        ) from None
    if done.returncode == 0:
        report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return report
    last = done.stderr.strip().splitlines()[-1:] or [f"it ended with {done.returncode}"]
    # One sentence of ours, or the last line of a traceback, whose type is all that is told.
    reason = last[0] if done.returncode == 1 and last[0].endswith(".") else last[0].split(":")[0]
    raise WrongError(
        f"{name} makes no picture: {reason.rstrip('.')}.",
        "See `consumer engines`, CONSUMER_DEVICE and the GPU's driver.",
    )


CHECKS = (importable, served, models, loras, device, generation)
