"""worker role: see sql/migrations/0016_worker_role.up.sql."""

from consumer.migrate import run_statements

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    run_statements(revision, "up")


def downgrade() -> None:
    run_statements(revision, "down")
