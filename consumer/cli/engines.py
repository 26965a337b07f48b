"""Which job types there are, which engines make them, and what of it works here; nothing heavy is imported."""

import argparse
from typing import Any

from rich.markup import escape

from consumer import engines, job_types
from consumer.cli.terminal import console, print_json, table
from consumer.errors import EngineUnusableError, UsageError
from consumer.job import JobType
from consumer.settings import Settings, load_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `consumer engines`."""
    parser.add_argument("--json", action="store_true", help="print one JSON object: engines, job_types")


def run(args: argparse.Namespace) -> int:
    """Show the engines, then the job types."""
    settings = load_settings()
    if unknown := sorted(set(settings.engines) - set(engines.names())):
        raise UsageError(f"CONSUMER_ENGINES names {unknown[0]}, and there are only: {', '.join(engines.names())}.")
    known = job_types.load(settings.job_types, settings.models)
    served = job_types.served(known, settings.engines or engines.available(), stand_in=settings.stand_in)
    found = [engine(name, settings) for name in engines.names()]
    made = [row(job_type, served=job_type.name in served) for job_type in known.values()]
    if args.json:
        print_json({"engines": found, "job_types": made})
        return 0
    show_engines(found)
    show_job_types(made)
    return 0


def engine(name: str, settings: Settings) -> dict[str, Any]:
    """One engine: whether it can be loaded here, the reason if not, and its model."""
    model = settings.models.get(name, "")
    try:
        model = engines.create(name, model, engines.options_of(settings)).model
    except (EngineUnusableError, UsageError) as error:
        return {"engine": name, "usable": False, "reason": str(error), "model": model or None}
    return {"engine": name, "usable": True, "reason": None, "model": model or None}


def row(job_type: JobType, *, served: bool) -> dict[str, Any]:
    """One job type and its defaults; `served` says whether `consumer run` would take it with these settings."""
    defaults = job_type.defaults
    return {
        "job_type": job_type.name,
        "engine": job_type.engine,
        "medium": job_type.medium,
        "model": job_type.model or None,
        "count": job_type.count,
        "max_count": job_type.max_count,
        "steps": defaults.get("steps"),
        "width": defaults.get("width"),
        "height": defaults.get("height"),
        "num_frames": defaults.get("num_frames"),
        "served": served,
    }


def show_engines(found: list[dict[str, Any]]) -> None:
    """A table of the engines."""
    rows = table("engine", "works here", "model")
    for item in found:
        works = "[green]yes[/]" if item["usable"] else f"[yellow]no[/]: {escape(item['reason'])}"
        rows.add_row(item["engine"], works, item["model"] or "-")
    console().print(rows)


def show_job_types(made: list[dict[str, Any]]) -> None:
    """A table of the job types."""
    rows = table(
        "job type", "engine", "medium", "count", "most", "steps", "size", "here", right=("count", "most", "steps")
    )
    for item in made:
        size = f"{item['width']}x{item['height']}" if item["width"] and item["height"] else "-"
        frames = f" x {item['num_frames']}" if item["num_frames"] else ""
        served = "[green]yes[/]" if item["served"] else "no"
        numbers = [str(item[name] or "-") for name in ("count", "max_count", "steps")]
        rows.add_row(item["job_type"], item["engine"], item["medium"], *numbers, size + frames, served)
    console().print(rows)
