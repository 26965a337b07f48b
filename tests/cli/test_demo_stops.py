"""Whenever and however a demo is stopped, no process of it goes on."""

import os
import signal
from collections.abc import Callable

import pytest

from demos import MOMENTS, Demo, Living, Start, as_the_worker_starts, in_a_picture, in_initdb, in_migration
from workers import eventually


def check_stopped(demo: Demo, code: int, adopted: Living) -> None:
    assert demo.end() == (code, "Stopped; nothing is left running.\n")
    assert adopted() == []


@pytest.mark.parametrize("moment", MOMENTS)
def test_ctrl_c_at_any_moment_leaves_nothing_running(
    demo: Start, adopted: Living, moment: Callable[[Demo], None]
) -> None:
    stopped = demo(CONSUMER_SKETCH_SECONDS="1")
    moment(stopped)
    # A terminal sends it to the whole group.
    os.killpg(stopped.process.pid, signal.SIGINT)
    check_stopped(stopped, 130, adopted)


@pytest.mark.parametrize(
    ("numbers", "code"), [([signal.SIGINT] * 3, 130), ([signal.SIGTERM], 143), ([signal.SIGHUP], 129)]
)
def test_a_signal_to_the_demo_alone_is_enough(demo: Start, adopted: Living, numbers: list[int], code: int) -> None:
    stopped = demo(CONSUMER_SKETCH_SECONDS="1")
    in_a_picture(stopped)
    for number in numbers:
        stopped.process.send_signal(number)
    check_stopped(stopped, code, adopted)


@pytest.mark.parametrize("moment", [in_initdb, in_migration, as_the_worker_starts, in_a_picture])
def test_killed_at_any_moment_it_takes_everything_with_it(
    demo: Start, adopted: Living, moment: Callable[[Demo], None]
) -> None:
    killed = demo(CONSUMER_SKETCH_SECONDS="1")
    moment(killed)
    killed.process.kill()
    assert killed.end()[0] == -signal.SIGKILL
    eventually(lambda: not adopted(), "every process of the demo is gone")


def test_a_worker_that_dies_is_told_with_its_log(demo: Start, adopted: Living) -> None:
    failing = demo(CONSUMER_SKETCH_SECONDS="1")
    in_a_picture(failing)
    [worker] = [process for process in failing.descendants() if "run" in process.cmdline()]
    worker.kill()
    code, said = failing.end()
    assert code == 1
    assert said.startswith(f"The worker ended too early, with exit code -9. Its log is {failing.directory}/worker.log")
    assert said.endswith(f"ends with:\n{failing.log().splitlines()[-1]}\n")
    assert adopted() == []
