"""Every benchmark runs, small, and prints its table."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench"

Table = list[dict[str, str]]


def run(program: str, *args: str) -> Table:
    """The rows that it prints."""
    command = [sys.executable, str(BENCH / program), *args]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


def test_encode() -> None:
    rows = run("encode.py", "--quick")
    pictures = [(f"picture, noise {noise}", kind) for noise in (0, 2, 6) for kind in ("PNG", "thumbnail")]
    ours = [(row["of"], row["route"].split(",")[0]) for row in rows if row["route"].endswith(", ours")]
    assert ours == [*pictures, ("video, noise 2", "MP4")]
    assert {row["PSNR dB"] for row in rows if row["route"].startswith("PNG")} == {"lossless"}
    assert all(float(row["ms"]) > 0 and float(row["KiB"]) > 0 for row in rows)


def test_pipeline() -> None:
    [row] = run("pipeline.py", "--quick")
    assert (row["jobs"], row["pictures"]) == ("4", "7")
    assert 0 < float(row["engine works"]) < 1
    assert float(row["wall s"]) >= 4 * float(row["job s"])


@pytest.mark.models
def test_gpu() -> None:
    rows = run("gpu.py", "--tiny")
    ways = ["diffusers, by hand", "our engine", "our engine, fast"]
    assert [(row["model"], row["way"]) for row in rows] == [
        (model, way) for model in ("tiny SDXL", "tiny WAN") for way in ways
    ]
    assert all(float(row["each s"]) > 0 for row in rows)
    # By whatever way, the same is drawn.
    assert all(float(row["off by"]) < 0.5 for row in rows)


@pytest.mark.parametrize(
    ("program", "args", "head"),
    [
        ("claim.py", ("--quick",), "p50 ms"),
        ("notify.py", ("1", "1"), "ratio"),
        ("idle.py", ("2",), "times"),
        ("drain.py", ("8", "1"), "jobs/s"),
        ("pickup.py", ("3",), "p50 ms"),
        ("fair.py", ("30", "3", "50"), "claims/s"),
        ("migrate.py", ("100",), "revision"),
    ],
)
def test_those_of_the_queue(program: str, args: tuple[str, ...], head: str) -> None:
    rows = run(program, *args)
    assert rows
    assert all(row[head] for row in rows)
