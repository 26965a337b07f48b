"""How much memory the models may take: on the device, and in RAM."""
# ruff: noqa: PLC0415

import math
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from consumer.engines import diffusion
from consumer.engines.base import Options

if TYPE_CHECKING:
    import torch

GB = 1e9

# Where a container finds its limit, under cgroups v2 and v1; without one, they hold a word, or more than any RAM.
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def of_device(options: Options, device: "torch.device") -> float:
    """Bytes for weights and for the work on them: what the operator set, else what is free now; on a CPU, any number.

    On a GPU, torch is kept from taking more than what is set."""
    if options.vram_gb is None:
        found = diffusion.memory(options.device)
        return found["free"] if found else math.inf
    if device.type == "cuda":
        import torch

        index = torch.cuda.current_device() if device.index is None else device.index
        total = torch.cuda.get_device_properties(index).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, options.vram_gb * GB / total), index)
    return options.vram_gb * GB


def of_ram(options: Options) -> float:
    """Bytes for weights in RAM: what the operator set, else half of the machine's, or of a container's."""
    if options.ram_gb is not None:
        return options.ram_gb * GB
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in LIMITS:
        with suppress(OSError, ValueError):
            total = min(total, int(limit.read_text("ascii")))
    return total / 2


def watch_peak(device: "torch.device") -> None:
    """From now on, `peak` tells of what comes."""
    if device.type == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats(device)


def peak(device: "torch.device") -> int:
    """The most bytes that were taken on a GPU since `watch_peak`; 0 elsewhere, where nobody counts them."""
    if device.type != "cuda":
        return 0
    import torch

    return int(torch.cuda.max_memory_allocated(device))
