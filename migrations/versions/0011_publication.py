"""publication: see sql/migrations/0011_publication.up.sql."""

from consumer.migrate import run_statements

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    run_statements(revision, "up")


def downgrade() -> None:
    run_statements(revision, "down")
