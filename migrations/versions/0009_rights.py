"""rights: see sql/migrations/0009_rights.up.sql."""

from consumer.migrate import run_statements

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    run_statements(revision, "up")


def downgrade() -> None:
    run_statements(revision, "down")
