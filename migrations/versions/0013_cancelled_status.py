"""cancelled status: see sql/migrations/0013_cancelled_status.up.sql."""

from consumer.migrate import run_statements

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    run_statements(revision, "up")


def downgrade() -> None:
    run_statements(revision, "down")
