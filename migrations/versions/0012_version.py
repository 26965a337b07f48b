"""version: see sql/migrations/0012_version.up.sql."""

from consumer.migrate import run_statements

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    run_statements(revision, "up")


def downgrade() -> None:
    run_statements(revision, "down")
