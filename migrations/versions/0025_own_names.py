"""own names: see sql/migrations/0025_own_names.up.sql."""

from consumer.migrate import run_statements

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    run_statements(revision, "up")


def downgrade() -> None:
    run_statements(revision, "down")
