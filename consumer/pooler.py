"""Which way a DSN goes: straight to Postgres, or through a pooler in session or transaction mode."""
