"""How long a failed job waits before its next attempt."""

import random as stdlib_random
from collections.abc import Callable

Random = Callable[[], float]


def delay(attempt: int, *, base: float = 5.0, cap: float = 600.0, random: Random = stdlib_random.random) -> float:
    """Seconds to wait after failed attempt number `attempt` (from 1), between half a step and a whole one.

    The step is `base`, doubled with each attempt up to `cap`. The random half keeps jobs that failed together
    from coming back together; the fixed half keeps any from coming back at once. `random` gives [0, 1).
    """
    step = min(cap, base * 2.0 ** min(attempt - 1, 64))
    return step / 2 + random() * step / 2
