"""baseline: see sql/migrations/0001_baseline.up.sql."""

from consumer.migrate import run_statements

revision = "0001"
down_revision = None


def upgrade() -> None:
    run_statements(revision, "up")


def downgrade() -> None:
    run_statements(revision, "down")
