"""What a pydantic model allows, told in words: `a whole number from 1 to 100`."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel

KINDS = {"boolean": "true or false", "integer": "a whole number", "number": "a number", "string": "a text"}


@cache
def limits(model: type[BaseModel]) -> Mapping[str, str]:
    """Each field of `model` and what its value must be, to follow the words "must be"."""
    properties = model.model_json_schema(by_alias=False)["properties"]
    return {name: in_words(schema) for name, schema in properties.items()}


def in_words(schema: Mapping[str, Any]) -> str:
    """One property of a JSON schema; a field's own description goes before what can be derived."""
    if "description" in schema:
        return str(schema["description"])
    if "anyOf" in schema:
        return next(in_words(inner) for inner in schema["anyOf"] if inner.get("type") != "null")
    if "enum" in schema:
        return "one of " + ", ".join(schema["enum"])
    kind = KINDS[schema["type"]]
    if "maxLength" in schema:
        return f"{kind} of at most {schema['maxLength']} characters"
    if "minimum" in schema:
        low, high = schema["minimum"], schema["maximum"]
        step = f", divisible by {schema['multipleOf']}" if "multipleOf" in schema else ""
        return f"{low:.10g}" if low == high else f"{kind} from {low:.10g} to {high:.10g}{step}"
    return kind
