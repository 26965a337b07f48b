"""The bucket and who may do what in it, as the roles by which the Storage API asks the database."""

from collections.abc import Iterator
from typing import NamedTuple
from uuid import UUID

import psycopg
import pytest

from consumer import migrate, statements
from postgres import Database, Databases
from schema_picture import run_program

MISSING = "drop schema storage cascade"
NOTICE = "There is no schema storage here, so there is no bucket to create."
POLICIES = "select policyname from pg_policies where schemaname = 'storage' order by 1"
BUCKET = "select name, public, file_size_limit, allowed_mime_types from storage.buckets where id = 'workspace-temp'"
OURS = "consumer_read_own_workspace_temp"


class World(NamedTuple):
    """A bucket with a picture of each of two users, one beside their folders, and another bucket."""

    db: Database
    owner: UUID
    other: UUID

    def names(self, user: UUID | None, role: str = "authenticated") -> set[str]:
        """The objects that a request of this role sees."""
        return {name for (name,) in self.db.execute_as(user, "select name from storage.objects", role=role)}


@pytest.fixture(scope="module")
def world(databases: Databases) -> Iterator[World]:
    with databases.clone(databases.migrated) as db:
        owner, other = db.user(), db.user()
        with db.connect() as connection:
            connection.execute("insert into storage.buckets (id, name) values ('elsewhere', 'elsewhere')")
            for bucket, name in [
                ("workspace-temp", f"{owner}/job/0.png"),
                ("workspace-temp", f"{other}/job/0.png"),
                ("workspace-temp", f"{owner}x/job/0.png"),
                ("workspace-temp", f"x/{owner}/0.png"),
                ("workspace-temp", f"{owner}"),
                ("workspace-temp", "0.png"),
                ("elsewhere", f"{owner}/elsewhere.png"),
            ]:
                connection.execute("insert into storage.objects (bucket_id, name) values (%s, %s)", (bucket, name))
        yield World(db, owner, other)


def test_the_bucket_is_private_and_takes_what_the_worker_makes(world: World) -> None:
    with world.db.connect() as connection:
        assert connection.execute(BUCKET).fetchall() == [
            ("workspace-temp", False, None, ["image/png", "image/jpeg", "image/webp", "video/mp4"])
        ]


def test_a_user_reads_what_is_in_the_folder_of_the_own_id_and_nothing_else(world: World) -> None:
    assert world.names(world.owner) == {f"{world.owner}/job/0.png"}
    assert world.names(world.other) == {f"{world.other}/job/0.png"}


def test_a_user_without_a_folder_reads_nothing(world: World) -> None:
    assert world.names(world.db.user()) == set()


@pytest.mark.parametrize("role", ["anon", "authenticated"])
def test_a_request_that_names_no_user_reads_nothing(world: World, role: str) -> None:
    assert world.names(None, role) == set()


def test_anon_reads_nothing_even_with_the_id_of_a_user(world: World) -> None:
    assert world.names(world.owner, "anon") == set()


def test_a_sub_that_is_no_uuid_reads_nothing(world: World) -> None:
    with world.db.as_user(world.owner) as connection:
        connection.execute("""select set_config('request.jwt.claims', '{"sub": "%"}', true)""")
        with pytest.raises(psycopg.errors.InvalidTextRepresentation):
            connection.execute("select name from storage.objects")
        connection.rollback()


WRITES = {
    "insert": "insert into storage.objects (bucket_id, name) values ('workspace-temp', '{own}/job/1.png')",
    "upsert": "insert into storage.objects (bucket_id, name) values ('workspace-temp', '{own}/job/0.png')"
    " on conflict (bucket_id, name) do update set updated_at = now()",
}
CHANGES = {
    "update": "update storage.objects set name = '{own}/job/2.png' where name = '{own}/job/0.png' returning id",
    "delete": "delete from storage.objects where name = '{own}/job/0.png' returning id",
    "update of a bucket": "update storage.buckets set public = true returning id",
    "delete of a bucket": "delete from storage.buckets returning id",
}
ALLOW_DELETE = "select set_config('storage.allow_delete_query', 'true', true)"
"""What the Storage API says first in a transaction that deletes."""


def contents(world: World) -> list[tuple[object, ...]]:
    with world.db.connect() as connection:
        objects = connection.execute("select * from storage.objects order by id").fetchall()
        return objects + connection.execute("select * from storage.buckets order by id").fetchall()


@pytest.mark.parametrize("role", ["anon", "authenticated"])
@pytest.mark.parametrize("write", WRITES)
def test_a_user_puts_nothing_into_the_own_folder(world: World, write: str, role: str) -> None:
    before = contents(world)
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
        world.db.execute_as(world.owner, WRITES[write].format(own=world.owner), role=role)
    assert contents(world) == before


@pytest.mark.parametrize("role", ["anon", "authenticated"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_user_changes_nothing_in_the_own_folder(world: World, change: str, role: str) -> None:
    before = contents(world)
    with world.db.as_user(world.owner, role) as connection:
        connection.execute(ALLOW_DELETE)
        assert connection.execute(CHANGES[change].format(own=world.owner).encode()).fetchall() == []
    assert contents(world) == before


def test_the_service_key_reads_writes_and_deletes_everything(world: World) -> None:
    everything = {
        name for name, *_ in world.db.execute_as(None, "select name from storage.objects", role="service_role")
    }
    assert everything >= {f"{world.owner}/job/0.png", f"{world.other}/job/0.png", "0.png"}
    with world.db.as_user(None, "service_role") as connection:
        connection.execute(ALLOW_DELETE)
        for statement in (*WRITES.values(), CHANGES["update"], CHANGES["delete"].replace("job/0", "job/2")):
            cursor = connection.execute(statement.format(own=world.owner).encode())
            assert cursor.rowcount == 1, statement
        connection.rollback()


# What was there before, and what stays.


@pytest.fixture
def before(databases: Databases, stages) -> Iterator[Database]:
    """A database that waits for this revision."""
    with databases.clone(stages["0016"].after.name) as db:
        yield db


def test_a_bucket_that_is_there_already_is_left_as_it_is(before: Database) -> None:
    connection = before.connect()
    connection.execute(
        "insert into storage.buckets (id, name, public, file_size_limit, allowed_mime_types)"
        " values ('workspace-temp', 'workspace-temp', true, 1073741824, '{image/png}')"
    )
    migrate.upgrade(before.dsn, "0017")
    assert connection.execute(BUCKET).fetchall() == [("workspace-temp", True, 1073741824, ["image/png"])]


def test_the_policies_of_the_application_stay(before: Database) -> None:
    connection = before.connect()
    connection.execute("create policy theirs on storage.objects for all to authenticated using (true)")
    migrate.upgrade(before.dsn, "0017")
    assert connection.execute(POLICIES).fetchall() == [(OURS,), ("theirs",)]
    migrate.downgrade(before.dsn, "0016")
    assert connection.execute(POLICIES).fetchall() == [("theirs",)]


def test_the_way_back_takes_the_policy_and_leaves_the_bucket_and_what_is_in_it(before: Database) -> None:
    connection = before.connect()
    migrate.upgrade(before.dsn, "0017")
    connection.execute("insert into storage.objects (bucket_id, name) values ('workspace-temp', 'a/0.png')")
    for _ in range(2):
        migrate.downgrade(before.dsn, "0016")
        assert connection.execute(POLICIES).fetchall() == []
        assert connection.execute("select name from storage.objects").fetchall() == [("a/0.png",)]
        migrate.upgrade(before.dsn, "0017")
        assert connection.execute(POLICIES).fetchall() == [(OURS,)]
    assert len(connection.execute(BUCKET).fetchall()) == 1


def test_nothing_else_is_made_in_the_schema_storage(before: Database) -> None:
    def schema() -> str:
        return run_program("pg_dump", "-s", "-n", "storage", "--no-comments", before.admin_dsn)

    was = schema().splitlines()
    migrate.upgrade(before.dsn, "0017")
    added = [line for line in schema().splitlines() if line not in was and not line.startswith(("--", "\\"))]
    assert len(added) == 1
    assert added[0].startswith(f"CREATE POLICY {OURS} ON storage.objects FOR SELECT TO authenticated USING ")


def test_without_the_schema_storage_there_is_nothing_to_do_and_it_says_so(before: Database) -> None:
    with before.connect(before.admin_dsn) as admin:
        admin.execute(MISSING)
    heard: list[str | None] = []
    with before.connect() as connection:
        connection.add_notice_handler(lambda notice: heard.append(notice.message_primary))
        for statement in statements.migration("0017", "up")[0]:
            connection.execute(statement.encode())
    assert NOTICE in heard
    migrate.upgrade(before.dsn, "0017")
    migrate.downgrade(before.dsn, "0016")
