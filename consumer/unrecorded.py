"""Objects in the storage that no row tells of."""
