"""guard: see sql/migrations/0015_guard.up.sql."""

from consumer.migrate import run_statements

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    run_statements(revision, "up")


def downgrade() -> None:
    run_statements(revision, "down")
