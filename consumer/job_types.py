"""Job types as data: the built-in file, changed and extended by the user's own."""

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from consumer import tables
from consumer.errors import UsageError
from consumer.fields import MAX_COUNT
from consumer.job import JobType, Medium
from consumer.profiles import profile

BUILT_IN = Path(__file__).with_name("job_types.toml")
NAME = re.compile(r"[a-z0-9_]{1,64}")


class Entry(BaseModel):
    """One table of the file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    engine: str = Field(pattern=f"^{NAME.pattern}$", description="up to 64 of a-z, 0-9 and _")
    medium: Literal["image", "video"]
    model: str = Field("", max_length=1000)
    count: int = Field(1, ge=1, le=MAX_COUNT)
    max_count: int = Field(1, ge=1, le=MAX_COUNT)
    cost: float = Field(1.0, ge=0.01, le=86400)
    defaults: dict[str, Any] = Field({}, description="a table of request fields")


def load(path: Path | None = None, models: Mapping[str, str] | None = None) -> dict[str, JobType]:
    """Every known job type by name; a table in the file at `path` changes single keys, or adds a job type.

    `models` has the model of each engine, whose profile changes the defaults of the built-in job types; a table that
    names a model of its own gets the profile of that one. Raises UsageError with one line for each mistake.
    """
    built_in = tables.tables_of(BUILT_IN)
    own = {} if path is None else tables.tables_of(path)
    merged = {
        name: merge(built_in.get(name, {}), own.get(name, {}), models or {})
        for name in dict.fromkeys([*built_in, *own])
    }
    found = [f"{path}: {name}: {mistake}" for name in own for mistake in mistakes(name, merged[name])]
    if found:
        raise UsageError("\n".join(found))
    return {name: job_type(name, table) for name, table in merged.items()}


def served(job_types: Mapping[str, JobType], engines: Collection[str], *, stand_in: bool = False) -> dict[str, JobType]:
    """The job types that a process with these engines serves; all of them where an engine stands in for all."""
    if stand_in:
        return dict(job_types)
    return {name: job_type for name, job_type in job_types.items() if job_type.engine in engines}


def merge(known: Mapping[str, Any], own: Any, models: Mapping[str, str]) -> Any:
    """The built-in table with the user's keys over it; the defaults are the built-in ones, over them those of the
    model's profile, and over these the user's."""
    if not isinstance(own, dict):
        return own
    table = {**known, **own}
    engine, defaults = str(table.get("engine")), own.get("defaults", {})
    if isinstance(defaults, dict):
        wanted = profile(engine, str(table.get("model") or models.get(engine, "")))
        table["defaults"] = {**known.get("defaults", {}), **wanted, **defaults}
    return table


def job_type(name: str, table: Mapping[str, Any]) -> JobType:
    """A table without mistakes as a JobType."""
    entry = Entry.model_validate(table)
    return JobType(name, **{**entry.model_dump(), "medium": Medium(entry.medium)})


def mistakes(name: str, table: Any) -> Iterator[str]:
    """What is wrong with one table: a sentence for each key, with its limit."""
    if not NAME.fullmatch(name):
        yield "the name must be up to 64 of a-z, 0-9 and _."
    found = list(tables.mistakes(table, Entry, "job type"))
    yield from found
    if not found and (entry := Entry.model_validate(table)).count > entry.max_count:
        yield f"count must be at most max_count, which is {entry.max_count}."
