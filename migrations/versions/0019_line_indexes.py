"""line indexes: see sql/migrations/0019_line_indexes.up.sql."""

from consumer.migrate import run_statements

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    run_statements(revision, "up")


def downgrade() -> None:
    run_statements(revision, "down")
