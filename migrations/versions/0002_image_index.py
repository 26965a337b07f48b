"""image index: see sql/migrations/0002_image_index.up.sql."""

from consumer.migrate import run_statements

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    run_statements(revision, "up")


def downgrade() -> None:
    run_statements(revision, "down")
