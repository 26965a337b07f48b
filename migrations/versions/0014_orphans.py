"""orphans: see sql/migrations/0014_orphans.up.sql."""

from consumer.migrate import run_statements

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    run_statements(revision, "up")


def downgrade() -> None:
    run_statements(revision, "down")
