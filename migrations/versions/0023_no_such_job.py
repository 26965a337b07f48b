"""no such job: see sql/migrations/0023_no_such_job.up.sql."""

from consumer.migrate import run_statements

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    run_statements(revision, "up")


def downgrade() -> None:
    run_statements(revision, "down")
