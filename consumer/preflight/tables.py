"""Are the tables what our columns, rows and statements can live in?"""

from collections.abc import Iterator

from consumer.preflight.conversion import conversion
from consumer.preflight.existing import TABLES, Existing
from consumer.preflight.finding import Finding, note, ok, stop

TEXT = ("text", "character varying")
TIME = ("timestamp with time zone",)
WHOLE = ("integer", "bigint", "smallint", "numeric")
LARGE = ("bigint", "integer", "numeric")
JSON = ("jsonb",)
UUID = ("uuid",)

RESULTS = {
    "id": UUID, "user_id": UUID, "job_id": UUID, "image_index": WHOLE, "status": TEXT, "thumbnail_url": TEXT,
    "metadata": JSON, "format": TEXT, "seed": LARGE, "file_size": LARGE, "progress": WHOLE, "error_message": TEXT,
    "managed": ("boolean",), "created_at": TIME, "updated_at": TIME, "version": ("bigint",),
}  # fmt: skip

TYPES: dict[str, dict[str, tuple[str, ...]]] = {
    "jobs": {
        "id": UUID, "user_id": UUID, "job_type": TEXT, "status": TEXT, "original_prompt": TEXT, "enhanced_prompt": TEXT,
        "metadata": JSON, "error_message": TEXT, "attempts": WHOLE, "max_attempts": WHOLE, "created_at": TIME,
        "started_at": TIME, "completed_at": TIME, "image_id": UUID, "video_id": UUID, "engine": TEXT, "priority": WHOLE,
        "available_at": TIME, "start_tag": TIME, "finish_tag": TIME, "queue_at": TIME, "worker_id": UUID,
        "claim_id": ("bigint",), "idempotency_key": TEXT, "errors": JSON, "updated_at": TIME, "version": ("bigint",),
    },
    "images": {**RESULTS, "prompt": TEXT, "image_url": TEXT},
    "videos": {
        **RESULTS, "video_url": TEXT, "duration": (*WHOLE, "double precision", "real"), "resolution": TEXT,
        "completed_at": TIME,
    },
}  # fmt: skip
"""The columns that this system reads or writes, and the types that they may have."""

THERE = {
    "jobs": ("id", "user_id", "job_type", "created_at"),
    "images": ("id", "user_id", "prompt", "status", "created_at"),
    "videos": ("id", "user_id", "status", "created_at"),
}
"""What an existing table must bring along; the migrations add the rest."""

OURS = {
    "jobs": ("engine", "available_at", "start_tag", "finish_tag", "queue_at", "worker_id", "claim_id", "version"),
    "images": ("managed", "version"),
    "videos": ("managed", "version"),
}
"""Columns whose values the queue lives by: nobody else's may stand there."""

FILLED = {
    "images": ("job_id", "user_id", "image_index", "status", "prompt", "metadata", "managed"),
    "videos": ("job_id", "user_id", "image_index", "status", "metadata", "managed"),
    "jobs": ("user_id", "job_type", "original_prompt", "metadata"),
}
"""What our rows have from the beginning; for jobs: what `consumer submit` sends."""

EMPTIED = {
    "jobs": ("error_message", "available_at", "finish_tag", "queue_at", "worker_id", "started_at", "completed_at"),
    "images": ("progress", "error_message"),
    "videos": ("progress", "error_message"),
}
"""What our statements set to NULL."""

LENGTHS = {
    "status": 10, "format": 4, "image_url": 90, "video_url": 90, "thumbnail_url": 90, "resolution": 9,
    "error_message": 200, "engine": 64,
}  # fmt: skip
"""How long the texts become that we write."""

KINDS = {"v": "a view", "m": "a materialized view", "f": "a foreign table", "p": "a partitioned table"}


def kinds(existing: Existing) -> Iterator[Finding]:
    """Tables that are no tables, or not ours to change."""
    for name, found in existing.tables.items():
        if found["kind"] != "r":
            yield stop(
                f"public.{name} is {KINDS.get(found['kind'], 'no table')}.", "The migrations need a plain table."
            )
        elif not found["owned"]:
            yield stop(
                f"public.{name} belongs to {found['owner']}, and only its owner may change it.",
                f"Migrate as {found['owner']}, or run as it: alter table public.{name} owner to {found['role']};",
            )
        elif found["forced"]:
            yield stop(
                f"public.{name} forces row level security on its owner too, and so on our triggers.",
                f"alter table public.{name} no force row level security;",
            )
    missing = [name for name in TABLES if name not in existing.tables]
    if len(missing) == len(TABLES):
        yield ok("The database has none of the tables jobs, images and videos: the migrations create them.")
    elif missing:
        yield note(
            f"{' and '.join(f'public.{name}' for name in missing)} will be created; the other tables are adopted."
        )


def columns(existing: Existing) -> Iterator[Finding]:
    """Columns that are missing, are of another type, or have our names and another meaning."""
    for relation in existing.tables:
        for name in THERE[relation]:
            if not existing.has(relation, name):
                yield stop(f"public.{relation} has no column {name}.", f"Add it: {name} {TYPES[relation][name][0]}.")
        for name, types in TYPES[relation].items():
            if existing.has(relation, name):
                yield from _column(existing, relation, name, types)


def _column(existing: Existing, relation: str, name: str, types: tuple[str, ...]) -> Iterator[Finding]:
    column = existing.columns[relation, name]
    place = f"public.{relation}.{name}"
    if name in OURS[relation] and place not in existing.created and existing.theirs(relation):
        yield stop(f"{place} is there already, and is not ours.", "Rename it: the queue lives by what stands there.")
    elif column.type not in types:
        yield stop(f"{place} is of type {column.type}; this system needs {types[0]}.", conversion(column, types[0]))
    elif column.most is not None and column.most < LENGTHS.get(name, 0):
        yield stop(
            f"{place} takes {column.most} characters, and this system writes up to {LENGTHS[name]}.",
            f"alter table public.{relation} alter column {name} type text;",
        )


def required(existing: Existing) -> Iterator[Finding]:
    """Columns that take no NULL where we have nothing else to give."""
    for (relation, name), column in existing.columns.items():
        place = f"public.{relation}.{name}"
        nullable = f"alter table public.{relation} alter column {name} drop not null;"
        if column.required and name in EMPTIED[relation]:
            yield stop(f"{place} takes no NULL, which this system writes there.", nullable)
        elif column.required and not column.filled and name not in FILLED[relation]:
            if relation == "jobs":
                yield note(f"{place} takes no NULL and has no default: `consumer submit` cannot fill it.")
            else:
                yield stop(f"{place} takes no NULL and has no default: our rows would be refused.", nullable)


def unique(existing: Existing) -> Iterator[Finding]:
    """Unique indexes that the rows of one job would collide in, and one that only has the name of ours."""
    for index in existing.rows("unique_indexes"):
        relation, columns = index["relation"], index["columns"]
        ours = index["name"] == f"{relation}_job_id_image_index_key"
        if ours and (not index["is_unique"] or index["partial"] or columns != ["job_id", "image_index"]):
            yield stop(f"The index public.{index['name']} has the name of ours, and is another.", "Rename it.")
        elif not ours and not index["computed"] and set(columns) <= {*FILLED[relation]} - {"image_index"}:
            yield stop(
                f"The unique index public.{index['name']} lets a job have one row in {relation} only.",
                "Drop it, or add image_index to it.",
            )
