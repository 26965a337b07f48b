"""pending images: see sql/migrations/0024_pending_images.up.sql."""

from consumer.migrate import run_statements

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    run_statements(revision, "up")


def downgrade() -> None:
    run_statements(revision, "down")
