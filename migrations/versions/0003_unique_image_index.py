"""unique image index: see sql/migrations/0003_unique_image_index.up.sql."""

from consumer.migrate import run_statements

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    run_statements(revision, "up")


def downgrade() -> None:
    run_statements(revision, "down")
