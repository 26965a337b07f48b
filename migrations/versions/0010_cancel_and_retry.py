"""cancel and retry: see sql/migrations/0010_cancel_and_retry.up.sql."""

from consumer.migrate import run_statements

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    run_statements(revision, "up")


def downgrade() -> None:
    run_statements(revision, "down")
