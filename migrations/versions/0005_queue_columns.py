"""queue columns: see sql/migrations/0005_queue_columns.up.sql."""

from consumer.migrate import run_statements

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    run_statements(revision, "up")


def downgrade() -> None:
    run_statements(revision, "down")
