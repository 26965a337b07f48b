"""Everything that could fail silently, checked."""
