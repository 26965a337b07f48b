"""The picture of a migrated database: what pg_dump says of our schemas, without what changes from run to run.

`python tests/schema_picture.py --write` renews sql/schema.sql; without `--write` it prints the picture.
"""

import os
import re
import subprocess
import sys

import psycopg
from psycopg.rows import scalar_row

from consumer import cluster, embedded, migrate, statements

FILE = statements.SQL / "schema.sql"
HEADER = "-- Generated from sql/migrations by `make schema`; a test compares the two.\n\n"

# pg_dump's own remarks and settings, and the schema public, begin a line; in a function's body such lines are indented.
NOISE = re.compile(
    r"^(--|\\(un)?restrict |SET |SELECT pg_catalog|(CREATE|COMMENT ON|GRANT USAGE ON) SCHEMA public).*\n", re.M
)
PUBLISHED = """
select format('ALTER PUBLICATION %I ADD TABLE ONLY %I.%I;', pubname, schemaname, tablename)
from pg_publication_tables order by pubname, schemaname, tablename
"""


def run_program(name: str, *arguments: str, stdin: str = "") -> str:
    """What a client program of the newest Postgres in the wheel prints; raises CalledProcessError."""
    program = cluster.installed(max(cluster.INSTALLS)) / "bin" / name
    done = subprocess.run([program, *arguments], input=stdin, check=True, capture_output=True, text=True)
    return done.stdout


def picture(dsn: str, *options: str) -> str:
    """The schemas public and consumer, and what is published, as SQL; `options` are pg_dump's."""
    dump = run_program("pg_dump", "-s", "-O", "-n", "public", "-n", "consumer", *options, dsn)
    with psycopg.connect(dsn, row_factory=scalar_row) as connection:
        published = connection.execute(PUBLISHED).fetchall()
    return re.sub(r"\n{3,}", "\n\n", NOISE.sub("", dump) + "\n".join([*published, ""])).lstrip("\n")


def main() -> None:
    """Migrate a private database, and write or print its picture."""
    with embedded.start(int(os.environ.get("PG", "16"))) as server:
        migrate.upgrade(server.dsn())
        text = HEADER + picture(server.dsn())
    if "--write" in sys.argv[1:]:
        FILE.write_text(text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
