-- The revision that the database is at.
select version_num from consumer.alembic_version
