"""queue indexes: see sql/migrations/0006_queue_indexes.up.sql."""

from consumer.migrate import run_statements

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    run_statements(revision, "up")


def downgrade() -> None:
    run_statements(revision, "down")
