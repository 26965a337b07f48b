"""Job types as data: the built-in file, changed and extended by the user's own."""

import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from consumer.errors import RejectedError, UsageError
from consumer.fields import MAX_COUNT, canonical, check
from consumer.job import JobType, Medium
from consumer.limits import limits

BUILT_IN = Path(__file__).with_name("job_types.toml")
NAME = re.compile(r"[a-z0-9_]{1,64}")
# Fields that belong to one request alone, or that another key of the file says already.
NO_DEFAULT = {"prompt", "seed", "num_images", "duration", "resolution", "aspect_ratio", "denoise_strength"}


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


def load(path: Path | None = None) -> dict[str, JobType]:
    """Every known job type by name; a table in the file at `path` changes single keys, or adds a job type.

    Raises UsageError with one line for each mistake.
    """
    tables = tables_of(BUILT_IN)
    if path is None:
        return {name: job_type(name, table) for name, table in tables.items()}
    merged = {name: merge(tables.get(name, {}), table) for name, table in tables_of(path).items()}
    found = [f"{path}: {name}: {mistake}" for name, table in merged.items() for mistake in mistakes(name, table)]
    if found:
        raise UsageError("\n".join(found))
    return {name: job_type(name, table) for name, table in {**tables, **merged}.items()}


def served(job_types: Mapping[str, JobType], engines: Collection[str], *, stand_in: bool = False) -> dict[str, JobType]:
    """The job types that a process with these engines serves; all of them where an engine stands in for all."""
    if stand_in:
        return dict(job_types)
    return {name: job_type for name, job_type in job_types.items() if job_type.engine in engines}


def tables_of(path: Path) -> dict[str, Any]:
    """The tables of a TOML file; raises UsageError when it cannot be read."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}).") from None
    except ValueError as error:
        raise UsageError(f"{path}: is not TOML: {error}.") from None


def merge(known: Mapping[str, Any], own: Any) -> Any:
    """The built-in table with the user's keys over it, and the user's defaults over its defaults."""
    if not isinstance(own, dict):
        return own
    defaults = own.get("defaults", {})
    if isinstance(defaults, dict):
        defaults = {**known.get("defaults", {}), **defaults}
    return {**known, **own, "defaults": defaults}


def job_type(name: str, table: Mapping[str, Any]) -> JobType:
    """A table without mistakes as a JobType."""
    entry = Entry.model_validate(table)
    return JobType(name, **{**entry.model_dump(), "medium": Medium(entry.medium)})


def mistakes(name: str, table: Any) -> Iterator[str]:
    """What is wrong with one table: a sentence for each key, with its limit."""
    if not NAME.fullmatch(name):
        yield "the name must be up to 64 of a-z, 0-9 and _."
    if not isinstance(table, dict):
        yield "must be a table."
        return
    try:
        entry = Entry.model_validate(table)
    except ValidationError as error:
        for problem in error.errors():
            yield sentence(str(problem["loc"][0]), problem["type"])
    else:
        if entry.count > entry.max_count:
            yield f"count must be at most max_count, which is {entry.max_count}."
    defaults = table.get("defaults")
    for key, value in defaults.items() if isinstance(defaults, dict) else ():
        yield from mistakes_of_default(key, value)


def sentence(key: str, problem: str) -> str:
    """One of pydantic's findings about a key."""
    if problem == "missing":
        return f"{key} is missing; it must be {limits(Entry)[key]}."
    if problem == "extra_forbidden":
        return f"{key} is not a key of a job type; these are {', '.join(Entry.model_fields)}."
    return f"{key} must be {limits(Entry)[key]}."


def mistakes_of_default(key: str, value: Any) -> Iterator[str]:
    """What is wrong with one request field among the defaults."""
    field = canonical(key)
    if field is None:
        yield f"defaults.{key} is not a field of a request."
    elif field != key:
        yield f"defaults.{key} is called {field} here."
    elif field in NO_DEFAULT:
        yield f"defaults.{key} cannot have a default."
    else:
        try:
            check(f"defaults.{key}", value, field)
        except RejectedError as error:
            yield str(error)
