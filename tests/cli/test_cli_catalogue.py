"""`consumer engines` and `consumer job-types`: what there is, and what of it works here."""

import subprocess
import sys
from pathlib import Path

import pytest

from commands import Command
from consumer.engines.sdxl import SdxlEngine
from consumer.job_types import load
from jobs import Jobs
from postgres import Database


def by(name: str, rows: list[dict[str, object]]) -> dict[object, dict[str, object]]:
    return {row[name]: row for row in rows}


def test_engines_are_told_with_their_models(consumer: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    engines = by("engine", consumer("engines", "--json").json["engines"])
    assert engines["sketch"] == {"engine": "sketch", "usable": True, "reason": None, "model": None}
    assert engines["sdxl"]["model"] == "stabilityai/stable-diffusion-xl-base-1.0"
    monkeypatch.setenv("CONSUMER_MODEL_SDXL", "tiny")
    assert by("engine", consumer("engines", "--json").json["engines"])["sdxl"]["model"] == "tiny"


def test_an_engine_says_which_modules_it_lacks(consumer: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SdxlEngine, "requires", ("numpy", "no_such_module"))
    found = consumer("engines", "--json").json
    sdxl = by("engine", found["engines"])["sdxl"]
    assert not sdxl["usable"]
    assert sdxl["reason"].startswith("The engine sdxl needs no_such_module, not installed here")
    assert not by("job_type", found["job_types"])["sdxl_image_fast"]["served"]
    assert sdxl["reason"] in consumer("engines").out


def test_job_types_are_told_with_their_defaults(consumer: Command) -> None:
    job_types = by("job_type", consumer("engines", "--json").json["job_types"])
    assert set(job_types) == set(load())
    assert job_types["sdxl_image_high"] == {
        "job_type": "sdxl_image_high", "engine": "sdxl", "medium": "image", "model": None, "count": 3,
        "max_count": 6, "steps": 50, "width": 1024, "height": 1024, "num_frames": None, "served": True,
    }  # fmt: skip


def test_job_types_are_told_with_the_profile_of_the_model(
    consumer: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "own.toml").write_text('[sdxl_image_fast]\nmodel = "some/model-LCM"\n')
    monkeypatch.setenv("CONSUMER_JOB_TYPES", str(tmp_path / "own.toml"))
    monkeypatch.setenv("CONSUMER_MODEL_SDXL", "ByteDance/SDXL-Lightning-8step")
    job_types = by("job_type", consumer("engines", "--json").json["job_types"])
    assert [
        (job_types[name]["model"], job_types[name]["steps"]) for name in ("sdxl_image_fast", "sdxl_image_high")
    ] == [
        ("some/model-LCM", 4),
        (None, 8),
    ]


def test_sketch_alone_serves_every_job_type(consumer: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUMER_ENGINES", "sketch")
    assert all(job_type["served"] for job_type in consumer("engines", "--json").json["job_types"])


def test_an_engine_that_is_named_and_unknown_is_refused(consumer: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUMER_ENGINES", "sketch,sdx")
    refused = consumer("engines")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith("CONSUMER_ENGINES names sdx, and there are only: sketch, sdxl")


def test_nothing_heavy_is_imported_for_it(bare: Path) -> None:
    heavy = {"torch", "diffusers", "transformers", "supabase", "alembic"}
    code = f"import sys; from consumer.cli import main; main(['engines']); sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_job_types_go_into_the_database_and_are_listed(
    connected: Command, db: Database, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bare / "own.toml").write_text(
        '[poster]\nengine = "sketch"\nmedium = "image"\nmax_count = 4\ncost = 2.5\n[sketch]\nmax_count = 2\n'
    )
    monkeypatch.setenv("CONSUMER_JOB_TYPES", "own.toml")
    assert "Not in the database yet: poster. Run `consumer job-types push`." in connected("job-types", "list").out
    assert connected("job-types", "push").out == f"Wrote {len(load()) + 1} job types.\n"
    rows = by("job_type", connected("job-types", "list", "--json").json)
    assert set(rows) == {*load(), "poster"}
    poster = {"engine": "sketch", "medium": "image", "default_count": 1, "max_count": 4, "cost": 2.5}
    assert rows["poster"].items() >= poster.items()
    assert rows["sketch"]["max_count"] == 2
    assert len(Jobs(db).images(Jobs(db).add("poster", 4))) == 4
