"""What the migrations need around the tables, and who is in their way."""

from collections.abc import Iterator

from consumer.preflight.existing import TABLES, Existing, Row
from consumer.preflight.finding import Finding, note, stop
from consumer.preflight.revisions import missing


def surroundings(existing: Existing) -> Iterator[Finding]:
    """Roles, rights and schemas."""
    [found] = existing.rows("surroundings")
    if found["missing_roles"]:
        yield stop(
            f"There is no role {', '.join(found['missing_roles'])}: this is not a database of Supabase.",
            "Check DATABASE_URL; `create role NAME nologin;` makes one.",
        )
    if not found["has_schema"] and not found["may_create_schema"]:
        yield stop("This role may not create a schema here.", "Migrate as postgres.")
    if not found["may_create_in_public"]:
        yield stop("This role may not create functions in the schema public.", "Migrate as postgres.")
    yield from _private(existing, found)
    if any(name not in existing.tables for name in TABLES):
        if not found["has_users"]:
            yield stop("There is no table auth.users, to which new tables refer.", "Check DATABASE_URL.")
        elif not found["may_refer_to_users"]:
            yield stop("This role may not refer to auth.users.", "Migrate as postgres.")


def _private(existing: Existing, found: Row) -> Iterator[Finding]:
    if found["has_schema"] and not found["owns_schema"]:
        remedy = "Migrate as that role." if found["is_our_schema"] else "Migrate as that role, or rename the schema."
        yield stop("The schema consumer belongs to another role.", remedy)
    elif not found["schema_holds_relations"] or existing.revision or existing.created:
        return
    elif found["is_our_schema"]:
        yield note(
            "The schema consumer holds what an interrupted migration left there.",
            "`consumer migrate up` goes on with it; `consumer migrate down base` after that takes it out.",
        )
    else:
        yield stop("There is a schema consumer already, and it is not ours.", "alter schema consumer rename to ...;")


def transactions(existing: Existing) -> Iterator[Finding]:
    """Transactions that have been open for long: DDL waits for those that use the tables, CONCURRENTLY for all."""
    if not missing(existing.revision):
        return
    for found in existing.rows("transactions"):
        who = f"{found['application'] or 'no application name'}, role {found['role']}, {found['state']}"
        if found["pid"] is None:
            yield stop(
                f"A prepared transaction ({who}) has been open for {found['seconds']} s.",
                f"End it: rollback prepared '{found['application']}';",
            )
        elif found["blocks"]:
            yield stop(
                f"A transaction that uses the tables has been open for {found['seconds']} s "
                f"({who}, pid {found['pid']}).",
                f"Let it end, or end it: select pg_terminate_backend({found['pid']});",
            )
        else:
            yield note(
                f"A transaction has been open for {found['seconds']} s ({who}, pid {found['pid']}): "
                "the indexes are not ready before it ends."
            )
