"""notify: see sql/migrations/0008_notify.up.sql."""

from consumer.migrate import run_statements

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    run_statements(revision, "up")


def downgrade() -> None:
    run_statements(revision, "down")
