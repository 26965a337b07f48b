"""Files of tables (TOML) that hold request fields: reading them, and a sentence for each mistake."""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from consumer.errors import RejectedError, UsageError
from consumer.fields import canonical, check
from consumer.limits import limits

# Fields that belong to one request alone, or that another key of a job type says already.
NO_DEFAULT = {"prompt", "seed", "num_images", "duration", "resolution", "aspect_ratio", "denoise_strength"}


def tables_of(path: Path) -> dict[str, Any]:
    """The tables of a TOML file; raises UsageError when it cannot be read."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}).") from None
    except ValueError as error:
        raise UsageError(f"{path}: is not TOML: {error}.") from None


def mistakes(table: Any, model: type[BaseModel], what: str) -> Iterator[str]:
    """What is wrong with one table, which is to be a `model` and is called `what`: a sentence for each key."""
    if not isinstance(table, dict):
        yield "must be a table."
        return
    try:
        model.model_validate(table)
    except ValidationError as error:
        for problem in error.errors():
            yield sentence(str(problem["loc"][0]), problem["type"], model, what)
    defaults = table.get("defaults")
    for key, value in defaults.items() if isinstance(defaults, Mapping) else ():
        yield from mistakes_of_default(key, value)


def sentence(key: str, problem: str, model: type[BaseModel], what: str) -> str:
    """One of pydantic's findings about a key."""
    if problem == "missing":
        return f"{key} is missing; it must be {limits(model)[key]}."
    if problem == "extra_forbidden":
        return f"{key} is not a key of a {what}; these are {', '.join(model.model_fields)}."
    return f"{key} must be {limits(model)[key]}."


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
