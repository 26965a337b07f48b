"""fair queueing: see sql/migrations/0020_fair_queueing.up.sql."""

from consumer.migrate import run_statements

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    run_statements(revision, "up")


def downgrade() -> None:
    run_statements(revision, "down")
