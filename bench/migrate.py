"""What each revision costs a database that is in use: `python bench/migrate.py [rows]`.

The platform's tables (tests/database/generation_a.sql) are filled with so many jobs and images (default 1,000,000
each) and migrated, one revision after the other, while an application goes on writing to each table all the time.
Per revision: how long it took, and the longest that one of the application's writes had to wait meanwhile.
"""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

import stage
from consumer import embedded, migrate

PLATFORM = Path(__file__).parents[1] / "tests" / "database" / "generation_a.sql"

FILL = """
set session_replication_role = replica;
insert into public.jobs (user_id, job_type, status, metadata, created_at)
select p.id, 'sdxl_image_fast', (array['completed', 'completed', 'failed', 'queued'])[1 + n % 4], '{"num_images": 1}',
  now() - n * interval '1 minute'
from (select id from public.profiles limit 1) as p, generate_series(1, ROWS) as n;
insert into public.images (user_id, prompt, status, job_id, image_index, image_url)
select j.user_id, 'a lighthouse', 'completed', j.id, 0, j.user_id || '/' || j.id || '/0.png'
from public.jobs j where j.status = 'completed'
  and not exists (select from public.images i where i.job_id = j.id);
insert into public.images (user_id, prompt, status, job_id, image_index)
select j.user_id, 'a lighthouse', 'pending', j.id, 0 from public.jobs j where j.status <> 'completed'
  and not exists (select from public.images i where i.job_id = j.id);
insert into public.videos (user_id, status) select p.id, 'draft'
from (select id from public.profiles limit 1) as p, generate_series(1, ROWS / 10);
vacuum analyze;
"""

WRITES = [
    "update public.jobs set quality = 'fast' where id = %s",
    "update public.images set title = 'mine' where id = %s",
    "update public.videos set title = 'mine' where id = %s",
]


class Application(threading.Thread):
    """Writes to one row of each table, again and again, and notes the longest wait."""

    def __init__(self, dsn: str) -> None:
        super().__init__(daemon=True)
        self.longest = 0.0
        self._dsn = dsn
        self._over = threading.Event()

    def run(self) -> None:
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            tables = ("jobs", "images", "videos")
            ids = [
                connection.execute(
                    f"select id from public.{t} where status in ('failed', 'pending', 'draft') limit 1".encode()
                ).fetchone()
                for t in tables
            ]
            while not self._over.is_set():
                for write, row in zip(WRITES, ids, strict=True):
                    started = time.perf_counter()
                    connection.execute(write.encode(), row)
                    self.longest = max(self.longest, time.perf_counter() - started)

    def stop(self) -> float:
        """The longest wait, in seconds."""
        self._over.set()
        self.join()
        return self.longest


@contextmanager
def platform(rows: int) -> Iterator[str]:
    """The DSN of a platform's database with so many rows."""
    with stage.server() as running:
        admin = running.dsn("bench", "supabase_admin")
        with psycopg.connect(running.dsn(user="supabase_admin"), autocommit=True) as connection:
            connection.execute("create database bench owner postgres")
        embedded.dress(admin)
        with psycopg.connect(running.dsn("bench"), autocommit=True) as connection:
            connection.execute(PLATFORM.read_bytes())
        with psycopg.connect(admin, autocommit=True) as connection:
            for statement in FILL.replace("ROWS", str(rows)).split(";\n"):
                connection.execute(statement.encode())
        yield running.dsn("bench")


def main() -> None:
    """Migrate, and print one line for each revision."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    lines = []
    with platform(rows) as dsn:
        for number, name in migrate.history():
            application = Application(dsn)
            application.start()
            started = time.perf_counter()
            migrate.upgrade(dsn, number)
            seconds = time.perf_counter() - started
            waited = application.stop()
            lines.append(
                {"revision": f"{number} {name}", "seconds": round(seconds, 2), "longest wait ms": round(waited * 1000)}
            )
    stage.table(lines)


if __name__ == "__main__":
    main()
