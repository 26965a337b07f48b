"""unique video index: see sql/migrations/0004_unique_video_index.up.sql."""

from consumer.migrate import run_statements

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    run_statements(revision, "up")


def downgrade() -> None:
    run_statements(revision, "down")
