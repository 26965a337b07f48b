"""How Alembic runs the revisions: one transaction each, version table in the private schema `consumer`."""

import os

import psycopg
from alembic import context
from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import NullPool

SCHEMA = "create schema if not exists consumer"
OPTIONS = {"version_table_schema": "consumer", "transaction_per_migration": True}


def run_offline() -> None:
    """Print the SQL of the revisions, for review or for another tool."""
    context.configure(dialect_name="postgresql", as_sql=True, **OPTIONS)
    context.get_context().impl.static_output(f"{SCHEMA};\n")
    with context.begin_transaction():
        context.run_migrations()


def run_online(connection: Connection) -> None:
    """Run the revisions on `connection`."""
    connection.exec_driver_sql(SCHEMA)
    connection.commit()
    context.configure(connection=connection, **OPTIONS)
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    run_offline()
elif "connection" in context.config.attributes:
    run_online(context.config.attributes["connection"])
else:
    engine = create_engine(
        "postgresql+psycopg://",
        poolclass=NullPool,
        creator=lambda: psycopg.connect(os.environ["DATABASE_URL"]),
    )
    with engine.connect() as connection:
        run_online(connection)
