"""workspace assets: see sql/migrations/0018_workspace_assets.up.sql."""

from consumer.migrate import run_statements

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    run_statements(revision, "up")


def downgrade() -> None:
    run_statements(revision, "down")
