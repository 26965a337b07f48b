"""worker lock: see sql/migrations/0021_worker_lock.up.sql."""

from consumer.migrate import run_statements

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    run_statements(revision, "up")


def downgrade() -> None:
    run_statements(revision, "down")
