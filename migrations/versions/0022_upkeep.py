"""upkeep: see sql/migrations/0022_upkeep.up.sql."""

from consumer.migrate import run_statements

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    run_statements(revision, "up")


def downgrade() -> None:
    run_statements(revision, "down")
