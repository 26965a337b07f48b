"""record per asset: see sql/migrations/0007_record_per_asset.up.sql."""

from consumer.migrate import run_statements

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    run_statements(revision, "up")


def downgrade() -> None:
    run_statements(revision, "down")
