"""What an existing database holds that a migration would stumble over, read before any DDL."""
