"""Dockerfile, .dockerignore and compose.yaml fit this repository and each other."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from consumer.settings import Settings, variables

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
STAGES = [stage.strip() for stage in re.split(r"(?m)^(?=FROM )", DOCKERFILE)[1:]]
KNOWN = {name for field in Settings.model_fields for name in variables(field)}


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load((ROOT / "compose.yaml").read_text())


def instructions(stage: str, name: str) -> list[str]:
    """What follows `name` in the lines of a stage."""
    return re.findall(rf"(?m)^{name} +(.+)$", stage)


def test_the_build_sees_what_it_copies_and_nothing_that_could_hold_a_secret() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    seen = {line.removeprefix("!") for line in lines if line.startswith("!")}
    sources = {
        source.removeprefix("./")
        for stage in STAGES for copy in instructions(stage, "COPY") if "--from" not in copy
        for source in copy.split()[:-1]
    }  # fmt: skip
    assert sources == seen
    assert all((ROOT / source).exists() for source in sources)
    assert not [name for name in seen if name.startswith(".") or "env" in name]


def test_the_image_runs_the_worker_as_nobody_in_particular_under_an_init() -> None:
    final = STAGES[-1]
    assert json.loads(instructions(final, "ENTRYPOINT")[0]) == ["tini", "--", "consumer"]
    assert json.loads(instructions(final, "CMD")[0]) == ["run"]
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", instructions(final, "USER")[0])
    assert instructions(final, "STOPSIGNAL") == ["SIGTERM"]
    assert re.search(r'HEALTHCHECK .* CMD \["consumer", "health"\]', final)
    assert all(stage.startswith("FROM ${PYTHON_IMAGE}") for stage in STAGES)
    assert re.search(r"(?m)^ARG PYTHON_IMAGE=python:3\.\d+\.\d+-slim-\w+$", DOCKERFILE)


def test_the_files_name_only_settings_that_there_are(compose: Any) -> None:
    named = set(re.findall(r"CONSUMER_\w+", DOCKERFILE))
    for service in compose["services"].values():
        named |= set(service["environment"])
    assert named <= KNOWN
    assert {"CONSUMER_HEALTH_FILE", "DATABASE_URL", "SUPABASE_URL"} <= named


def test_a_worker_is_given_longer_to_stop_than_its_grace(compose: Any) -> None:
    grace = Settings.model_fields["grace_seconds"].default
    for name in ("sketch", "gpu"):
        assert float(compose["services"][name]["stop_grace_period"].removesuffix("s")) > grace
        assert compose["services"][name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
        assert compose["services"][name]["profiles"] == [name]
