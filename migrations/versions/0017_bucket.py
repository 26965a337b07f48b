"""bucket: see sql/migrations/0017_bucket.up.sql."""

from consumer.migrate import run_statements

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    run_statements(revision, "up")


def downgrade() -> None:
    run_statements(revision, "down")
