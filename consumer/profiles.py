"""What single models need where a request is silent: steps, guidance and scheduler, as data (profiles.toml)."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from re import Pattern
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from consumer.errors import UsageError
from consumer.tables import mistakes, tables_of

BUILT_IN = Path(__file__).with_name("profiles.toml")
STEPS = re.compile(r"(?<![\d.])([1-9]\d?)[ _-]?steps?(?![a-z])", re.IGNORECASE)


class Profile(BaseModel):
    """One table of the file: for models of `engine` whose name `match` is found in, in capital letters or small."""

    model_config = ConfigDict(extra="forbid", strict=True)

    engine: str = Field(pattern=r"^[a-z0-9_]{1,64}$", description="up to 64 of a-z, 0-9 and _")
    match: Pattern[str] = Field(description="a regular expression")
    defaults: dict[str, Any] = Field(description="a table of request fields")


def profile(engine: str, model: str) -> Mapping[str, Any]:
    """The request fields that `model` wants where a request is silent; nothing for a model like any other.

    A model is known by its own name, which is the last part of a hub id or of a path. Where that says a number of
    steps (`4step`), it is the one."""
    name = Path(model).name
    for each in load():
        if each.engine == engine and re.search(each.match.pattern, name, re.IGNORECASE):
            steps = STEPS.search(name)
            return {**each.defaults, "steps": int(steps[1])} if steps else each.defaults
    return {}


@cache
def load(path: Path = BUILT_IN) -> tuple[Profile, ...]:
    """The profiles of a file, in its order: the first that matches counts.

    Raises UsageError with one line for each mistake."""
    tables = tables_of(path)
    found = [
        f"{path}: {name}: {each}" for name, table in tables.items() for each in mistakes(table, Profile, "profile")
    ]
    if found:
        raise UsageError("\n".join(found))
    return tuple(Profile.model_validate(table) for table in tables.values())
