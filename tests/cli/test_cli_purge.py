"""`consumer jobs purge`: jobs that ended long ago go with their rows and objects, and nothing else does."""

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from commands import Command
from consumer import ended as ended_jobs
from consumer import purge
from consumer.storage.local import LocalStorage
from jobs import Jobs, Row
from postgres import Database
from stand_in import SECRET_KEY, StorageServer
from stand_in.faults import hang, lost_reply
from worker_login import worker_dsn
from workers import eventually

BUCKET = "workspace-temp"
NOTHING = {"application": 0, "referred": 0, "held": 0}
ALL = ("public.jobs", "public.images", "public.videos")


@pytest.fixture
def jobs(db: Database) -> Jobs:
    return Jobs(db)


@pytest.fixture
def files(bare: Path) -> Path:
    """The folder of the local storage."""
    folder = bare / "storage" / BUCKET
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def bucket(connected: Command, monkeypatch: pytest.MonkeyPatch) -> Iterator[StorageServer]:
    """The storage of the database's project, which the settings name."""
    with StorageServer() as server:
        monkeypatch.setenv("SUPABASE_URL", server.url)
        monkeypatch.setenv("SUPABASE_SECRET_KEY", SECRET_KEY)
        yield server


def ended(jobs: Jobs, status: str = "completed", days: float = 40, *, job_type: str = "sketch", count: int = 1) -> UUID:
    """A job that ended so long ago, with a result in each of its rows."""
    job_id = jobs.add(job_type, count)
    jobs.run(
        "update public.jobs set status = %s, queue_at = null, completed_at = now() - %s * interval '1 day',"
        " created_at = now() - interval '1 hour' - %s * interval '1 day' where id = %s",
        status, days, days, job_id,
    )  # fmt: skip
    for table, column, kind in (("images", "image_url", "png"), ("videos", "video_url", "mp4")):
        jobs.run(
            f"update public.{table} set status = 'completed',"
            f" {column} = concat(user_id, '/', job_id, '/', image_index, '.{kind}'),"
            " thumbnail_url = concat(user_id, '/', job_id, '/', image_index, '.thumb.webp') where job_id = %s",
            job_id,
        )
    return job_id


def keys(jobs: Jobs, *job_ids: UUID) -> list[str]:
    """The objects that the rows of these jobs name."""
    rows = [row for job_id in job_ids for row in jobs.images(job_id) + jobs.videos(job_id)]
    return [key for row in rows for key in (row.get("image_url") or row.get("video_url"), row["thumbnail_url"])]


def put(files: Path, *names: str) -> None:
    for name in names:
        files.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
        files.joinpath(name).write_bytes(b"pixels")


def stored(files: Path) -> set[str]:
    return {path.relative_to(files).as_posix() for path in files.rglob("*") if path.is_file()}


def whole(jobs: Jobs) -> dict[str, list[Row]]:
    """Every row of our tables."""
    return {table: jobs.run(f"select * from {table} order by id") for table in ALL}


def there(jobs: Jobs) -> set[UUID]:
    return {row["id"] for row in jobs.run("select id from public.jobs")}


def purged(connected: Command, *options: object, older_than: str = "30d") -> Any:
    """What a purge says as JSON."""
    outcome = connected("jobs", "purge", "--older-than", older_than, "--json", *options)
    assert (outcome.code, outcome.err) == (0, "")
    return outcome.json


def test_what_ended_long_ago_goes_with_its_rows_and_objects(connected: Command, files: Path, jobs: Jobs) -> None:
    going = [
        ended(jobs, count=3), ended(jobs, "failed"), ended(jobs, "cancelled", count=2),
        ended(jobs, job_type="wan_video_fast"),
    ]  # fmt: skip
    staying = [ended(jobs, days=29), ended(jobs, "queued"), ended(jobs, "processing"), ended(jobs)]
    jobs.set(staying[-1], engine=None, job_type="somebody_elses")
    for job_id in (*going, *staying):
        put(files, *keys(jobs, job_id))
    # What was stored and never recorded, and what is none of ours though it lies beside it.
    folder = f"{jobs.user}/{going[1]}"
    put(files, f"{folder}/7.png", f"{folder}/notes.txt", f"{jobs.user}/{uuid4()}/0.png", "avatars/me.png")
    kept = stored(files) - {*keys(jobs, *going), f"{folder}/7.png"}
    before, all_files = whole(jobs), stored(files)

    counts = {"jobs": 4, "images": 6, "videos": 1, "objects": 15, "bytes": 90, "kept": NOTHING}
    assert purged(connected, "--dry-run") == {**counts, "dry_run": True}
    assert (whole(jobs), stored(files)) == (before, all_files)

    assert purged(connected) == {**counts, "dry_run": False}
    assert stored(files) == kept
    rest = {name: [row for row in rows if row.get("job_id", row["id"]) in staying] for name, rows in before.items()}
    assert whole(jobs) == rest
    assert connected("jobs", "purge", "--older-than", "30d").out == (
        "Deleted 0 jobs with 0 images and 0 videos, and 0 objects in the storage, 0 bytes.\n"
    )


def test_a_job_that_never_ended_properly_is_as_old_as_it_is(connected: Command, files: Path, jobs: Jobs) -> None:
    old, young = ended(jobs, "failed"), ended(jobs, "failed", days=1)
    for job_id in (old, young):
        jobs.set(job_id, completed_at=None)
    late = ended(jobs, days=50)
    jobs.run("update public.jobs set completed_at = now() where id = %s", late)
    assert purged(connected)["jobs"] == 1
    assert there(jobs) == {young, late}


def test_some_may_be_chosen_by_status_and_age_and_number(connected: Command, files: Path, jobs: Jobs) -> None:
    completed = [ended(jobs, days=days / 24) for days in (3, 2, 1)]
    failed, cancelled = ended(jobs, "failed"), ended(jobs, "cancelled")
    assert purged(connected, "--status", "failed", older_than="90m")["jobs"] == 1
    assert there(jobs) == {*completed, cancelled}
    assert purged(connected, "--limit", 1, "--status", "completed", older_than="90m")["jobs"] == 1
    assert there(jobs) == {*completed[1:], cancelled}
    asked = ("--status", "failed,cancelled", "--status", "completed")
    assert purged(connected, *asked, older_than="90m")["jobs"] == 2
    assert there(jobs) == {completed[2]}
    said = connected("jobs", "purge", "--older-than", "30m", "--dry-run").out
    assert said == (
        "Would delete 1 job with 1 image and 0 videos, and 0 objects in the storage, 0 bytes; nothing was changed.\n"
    )
    assert failed not in there(jobs)


def test_strides_and_batches_leave_nothing_out(
    connected: Command, files: Path, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ended_jobs, "STRIDE", 2)
    monkeypatch.setattr(purge, "BATCH", 3)
    found = sorted(ended(jobs) for _ in range(7))
    # As one statement inserts them; the first in the order of the walk stays.
    jobs.run("update public.jobs set created_at = '2020-01-01'")
    jobs.run("update public.images set managed = false where job_id = %s", found[0])
    told = purged(connected, "--limit", 4)
    assert (told["jobs"], told["kept"]) == (4, {**NOTHING, "application": 1})
    assert there(jobs) == {found[0], *found[5:]}
    assert purged(connected)["jobs"] == 2


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), "the following arguments are required: --older-than"),
        (("--older-than", "30"), "up to 99999 with s, m, h or d after it, such as 24h."),
        (("--older-than", "a month"), "up to 99999 with s, m, h or d after it, such as 24h."),
        (
            ("--older-than", "1d", "--status", "completed,queued"),
            "argument --status: must be completed, failed or cancelled, or several of them with commas between.",
        ),
    ],
)
def test_a_wrong_option_is_refused_in_one_sentence(
    connected: Command, capsys: Any, options: Any, sentence: str
) -> None:
    with pytest.raises(SystemExit) as refused:
        connected("jobs", "purge", *options)
    assert refused.value.code == 2
    assert capsys.readouterr().err.rstrip().endswith(sentence)


def test_a_limit_of_nothing_is_refused(connected: Command) -> None:
    refused = connected("jobs", "purge", "--older-than", "1d", "--limit", "0")
    assert (refused.code, refused.err) == (2, "--limit must be a whole number from 1 on.\n")


# What its users see as theirs.


def test_a_job_with_rows_of_the_application_goes_only_when_that_is_said(
    connected: Command, files: Path, jobs: Jobs
) -> None:
    with_image, with_video, ours = ended(jobs, count=2), ended(jobs, job_type="wan_video_fast"), ended(jobs)
    jobs.run("update public.images set managed = false where job_id = %s and image_index = 1", with_image)
    jobs.insert("videos", {"user_id": jobs.user, "job_id": with_video})
    put(files, *keys(jobs, with_image, ours))
    kept = set(keys(jobs, with_image))
    said = connected("jobs", "purge", "--older-than", "30d").out.splitlines()
    assert said[1:] == [
        "Kept 2 jobs: rows of the application's own belong to them; --with-application-rows deletes both."
    ]
    assert there(jobs) == {with_image, with_video}
    assert len(jobs.images(with_image)) == 2
    assert stored(files) == kept
    told = purged(connected, "--with-application-rows")
    assert (told["jobs"], told["images"], told["videos"], told["objects"]) == (2, 2, 1, 4)
    assert not there(jobs)
    assert not stored(files)


WORKSPACE = """
create table public.workspace_assets (
  id uuid primary key default gen_random_uuid(), temp_storage_path text,
  job_id uuid references public.jobs (id) on delete {}
)
"""


@pytest.mark.parametrize("rule", ["cascade", "restrict"])
def test_a_job_that_workspace_assets_tells_of_goes_only_when_that_is_said(
    connected: Command, files: Path, jobs: Jobs, rule: str
) -> None:
    jobs.run(WORKSPACE.format(rule))
    own, named, plain = ended(jobs), ended(jobs), ended(jobs)
    add = "insert into public.workspace_assets (job_id, temp_storage_path) values (%s, %s)"
    jobs.run(add, own, keys(jobs, own)[0])
    jobs.run(add, None, keys(jobs, named)[0])
    put(files, *keys(jobs, own, named, plain))
    assert purged(connected)["kept"] == {**NOTHING, "application": 1, "referred": 1}
    assert there(jobs) == {own, named}
    told = purged(connected, "--with-application-rows")
    assert (told["jobs"], told["kept"]["referred"]) == (1, 1)
    assert there(jobs) == {named}
    assert stored(files) == set(keys(jobs, named))
    assert [row["job_id"] for row in jobs.run("select job_id from public.workspace_assets")] == [None]


def test_a_job_that_another_row_refers_to_stays(connected: Command, files: Path, jobs: Jobs) -> None:
    saved, reference, favourite, cover = (ended(jobs) for _ in range(4))
    jobs.insert(
        "images", {"user_id": jobs.user, "image_url": f"https://s/{keys(jobs, saved)[0]}?token=t", "prompt": ""}
    )
    waiting = jobs.add(metadata={"reference_image_url": f"workspace-temp/{keys(jobs, reference)[0]}"})
    # As an application may have made them: what refers to a picture goes with it.
    jobs.run("create table public.favourites (image uuid references public.images (id) on delete cascade)")
    jobs.run("insert into public.favourites select id from public.images where job_id = %s", favourite)
    jobs.run(
        "alter table public.jobs drop constraint jobs_image_id_fkey,"
        " add constraint jobs_image_id_fkey foreign key (image_id) references public.images (id) on delete cascade"
    )
    jobs.set(waiting, image_id=jobs.images(cover)[0]["id"])
    # A job that names its own picture is like any other.
    plain = ended(jobs)
    jobs.set(plain, image_id=jobs.images(plain)[0]["id"])
    put(files, *keys(jobs, saved, reference, favourite, cover, plain))
    left = stored(files) - set(keys(jobs, plain))
    for options in ((), ("--with-application-rows",)):
        told = purged(connected, *options)
        assert told["kept"] == {**NOTHING, "referred": 4}
    assert there(jobs) == {saved, reference, favourite, cover, waiting}
    assert jobs.value("select count(*) from public.favourites") == 1
    assert stored(files) == left


# Others who are at it.


def test_a_job_that_somebody_holds_is_left_for_the_next_run(
    connected: Command, files: Path, jobs: Jobs, db: Database
) -> None:
    held, with_held_row, free = (ended(jobs) for _ in range(3))
    put(files, *keys(jobs, held, with_held_row, free))
    left = set(keys(jobs, held, with_held_row))
    with db.connect(autocommit=False) as somebody:
        somebody.execute("select from public.jobs where id = %s for key share", (held,))
        somebody.execute("update public.images set title = 'mine' where job_id = %s", (with_held_row,))
        # Had it waited for one of the locks, it would have given up all three.
        told = purged(connected)
        assert (told["jobs"], told["kept"]) == (1, {**NOTHING, "held": 2})
        assert stored(files) == left
    assert purged(connected)["jobs"] == 2
    assert not there(jobs)
    assert not stored(files)


def test_a_user_who_retries_a_job_first_has_it_whole(connected: Command, files: Path, jobs: Jobs, db: Database) -> None:
    job_id = ended(jobs, "failed", count=2)
    put(files, *keys(jobs, job_id))
    before = stored(files)
    with db.connect(autocommit=False) as user:
        user.execute("select public.retry_job(%s)", (job_id,))
        assert purged(connected)["kept"] == {**NOTHING, "held": 1}
        user.commit()
    assert purged(connected)["jobs"] == 0
    assert (jobs.get(job_id)["status"], len(jobs.images(job_id)), stored(files)) == ("queued", 2, before)


Remove = Callable[[LocalStorage, Sequence[str]], Any]


@pytest.fixture
def removing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Lets something happen once the next objects are gone, before their rows are."""
    remove: Remove = LocalStorage.remove

    def set_hook(hook: Callable[[], None]) -> None:
        async def removed(storage: LocalStorage, keys: Sequence[str]) -> Any:
            gone = await remove(storage, keys)
            monkeypatch.setattr(LocalStorage, "remove", remove)
            hook()
            return gone

        monkeypatch.setattr(LocalStorage, "remove", removed)

    return set_hook


WAITING = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"


def test_a_user_who_retries_a_job_too_late_is_told_that_it_is_gone(
    connected: Command, files: Path, jobs: Jobs, db: Database, removing: Any
) -> None:
    job_id = ended(jobs, "failed", count=2)
    put(files, *keys(jobs, job_id))
    told: list[str | None] = []

    def retry() -> None:
        with psycopg.connect(db.dsn, autocommit=True) as user:
            try:
                user.execute("select public.retry_job(%s)", (job_id,))
            except psycopg.ProgrammingError as error:
                told.append(error.diag.message_primary)

    user = threading.Thread(target=retry)

    def meanwhile() -> None:
        user.start()
        eventually(lambda: jobs.value(WAITING) == 1, "the user waits for the job")

    removing(meanwhile)
    assert purged(connected)["jobs"] == 1
    user.join()
    assert told == ["There is no such job of yours."]
    assert not there(jobs)
    assert not stored(files)


# What goes wrong on the way.


def test_a_purge_that_is_interrupted_between_objects_and_rows_is_run_again(
    connected: Command, files: Path, jobs: Jobs, removing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "REMOVE", 2)
    first, second = ended(jobs), ended(jobs)
    put(files, *keys(jobs, first, second))

    def interrupt() -> None:
        raise KeyboardInterrupt

    removing(interrupt)
    assert connected("jobs", "purge", "--older-than", "30d").code == 130
    # No object is there that no row tells of: of the first to go the objects are gone, and the rows are not.
    assert there(jobs) == {first, second}
    assert stored(files) in ({*keys(jobs, first)}, {*keys(jobs, second)})
    told = purged(connected)
    assert (told["jobs"], told["objects"]) == (2, 2)
    assert not there(jobs)
    assert not stored(files)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("raise exception 'Jobs are kept.'", "The database will not delete a job: Jobs are kept."),
        ("return null", "A trigger or a policy on jobs kept rows from being deleted; they and their objects stay."),
    ],
)
def test_where_the_application_keeps_its_jobs_no_object_is_lost(
    connected: Command, files: Path, jobs: Jobs, body: str, sentence: str
) -> None:
    jobs.run(f"create function public.keep() returns trigger language plpgsql as $$ begin {body}; end $$")
    jobs.run("create trigger keep before delete on public.jobs for each row execute function public.keep()")
    job_id = ended(jobs)
    put(files, *keys(jobs, job_id))
    before = whole(jobs), stored(files)
    refused = connected("jobs", "purge", "--older-than", "30d")
    assert (refused.code, refused.err) == (2, sentence + "\n")
    assert (whole(jobs), stored(files)) == before


def test_the_worker_s_role_may_not(connected: Command, files: Path, jobs: Jobs, db: Database, monkeypatch: Any) -> None:
    job_id = ended(jobs)
    put(files, *keys(jobs, job_id))
    before = whole(jobs), stored(files)
    monkeypatch.setenv("DATABASE_URL", worker_dsn(db))
    refused = connected("jobs", "purge", "--older-than", "30d")
    assert refused.code == 2
    assert re.fullmatch(
        "The role in DATABASE_URL may not do this: permission denied for table [a-z]+[.]\n", refused.err
    )
    assert (whole(jobs), stored(files)) == before


# In a bucket.


def fill(bucket: StorageServer, *names: str) -> None:
    for name in names:
        bucket.put(name, b"pixels")


def in_step(bucket: StorageServer, db: Database) -> None:
    """Let storage.objects of the project's database say what the bucket holds, as it does in a project."""
    with psycopg.connect(db.admin_dsn) as admin:
        # Without the trigger that wants objects to be deleted through the storage.
        admin.execute("set local session_replication_role = replica")
        admin.execute("delete from storage.objects")
        for _, name in bucket.objects:
            admin.execute("insert into storage.objects (bucket_id, name) values (%s, %s)", (BUCKET, name))


def test_objects_go_from_a_bucket_at_most_a_hundred_at_a_time(
    connected: Command, bucket: StorageServer, jobs: Jobs, db: Database
) -> None:
    going, staying = [ended(jobs, job_type="sdxl_image_fast", count=6) for _ in range(20)], ended(jobs, days=1)
    fill(bucket, *keys(jobs, *going, staying))
    in_step(bucket, db)
    bucket.fail(lost_reply, method="DELETE", skip=1)
    broken_off = connected("jobs", "purge", "--older-than", "30d")
    assert (broken_off.code, broken_off.err.count("\n")) == (1, 1)
    # 8 jobs of 12 objects each at a time; of the second 8 the objects are gone, and the rows are there.
    assert len(bucket.seen("DELETE")) == 2
    assert (len(bucket.objects), len(there(jobs))) == (2 + 4 * 12, 1 + 12)
    in_step(bucket, db)
    told = purged(connected)
    assert (told["jobs"], told["images"], told["objects"]) == (12, 72, 48)
    assert there(jobs) == {staying}
    assert sorted(name for _, name in bucket.objects) == sorted(keys(jobs, staying))


def test_rows_are_not_held_for_long_while_the_storage_does_not_answer(
    connected: Command, bucket: StorageServer, jobs: Jobs, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "HOLD_SECONDS", 0.3)
    job_id = ended(jobs)
    fill(bucket, *keys(jobs, job_id))
    in_step(bucket, db)
    bucket.fail(hang, method="DELETE")
    waited = connected("jobs", "purge", "--older-than", "30d")
    assert (waited.code, waited.err) == (
        1, "The storage took longer than 0.3 seconds to remove objects; run this again later.\n",
    )  # fmt: skip
    assert there(jobs) == {job_id}
    assert len(bucket.objects) == 2


OTHERS = (
    "The storage in the settings is not the one beside this database: "
    "set SUPABASE_URL and SUPABASE_SECRET_KEY of the project that DATABASE_URL names. Nothing more was deleted.\n"
)


def test_a_folder_that_is_not_the_one_of_the_results_is_noticed(
    connected: Command, files: Path, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = ended(jobs)
    monkeypatch.setenv("CONSUMER_STORAGE_DIR", str(files.parent / "elsewhere"))
    refused = connected("jobs", "purge", "--older-than", "30d")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith("CONSUMER_STORAGE_DIR has no folder workspace-temp, ")
    assert there(jobs) == {job_id}


def test_the_storage_of_another_project_is_noticed(
    connected: Command, bucket: StorageServer, jobs: Jobs, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = ended(jobs)
    names = keys(jobs, job_id)
    # A copy of the database, without its storage, beside the storage of the original.
    fill(bucket, *names)
    refused = connected("jobs", "purge", "--older-than", "30d")
    assert (refused.code, refused.err) == (2, OTHERS)
    assert len(bucket.objects) == 2
    # A storage that has none of what the database knows of: another project's, or a folder.
    in_step(bucket, db)
    bucket.objects.clear()
    assert connected("jobs", "purge", "--older-than", "30d").err == OTHERS
    monkeypatch.delenv("SUPABASE_URL")
    monkeypatch.delenv("SUPABASE_SECRET_KEY")
    assert connected("jobs", "purge", "--older-than", "30d").err == OTHERS
    assert there(jobs) == {job_id}
