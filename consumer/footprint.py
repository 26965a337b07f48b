"""How much memory this process takes."""

import os
import resource
from pathlib import Path

STATM = Path("/proc/self/statm")


def footprint_gb() -> float:
    """What is resident now, in GB (10^9 bytes); where the system does not tell, the most that ever was."""
    if STATM.exists():
        return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e9
    # Without /proc this is macOS, which counts it in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9
