"""How a column of the wrong type becomes one of the right type."""

from consumer.preflight.existing import Column

LETTERS = ("text", "character varying", "character", "citext")
NUMBERS = ("integer", "bigint", "smallint", "numeric", "double precision", "real")


def conversion(column: Column, needed: str) -> str:
    """What makes the column one of the type that is needed."""
    name, change = column.name, f"alter table public.{column.relation} alter column {column.name} type {needed} using"
    if needed == "uuid" and column.type not in LETTERS:
        return (
            "No cast leads there: add another column of type uuid with default gen_random_uuid(), let what refers to "
            f"{name} refer to that one, then drop {name} and give the new column its name."
        )
    if needed == "text" and column.type not in LETTERS:
        return (
            f"Drop the views, indexes, rules, policies and triggers that name {name}, then {change} {name}::text; "
            "and make them again."
        )
    if needed == "timestamp with time zone" and column.type in NUMBERS:
        return f"{change} to_timestamp({name});"
    if needed == "jsonb" and column.type not in (*LETTERS, "json"):
        return f"{change} to_jsonb({name});"
    return f"{change} {name}::{needed};"
