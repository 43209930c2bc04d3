"""The history of the tables as Aerich files; applied by persistence.migrate, never imported by name."""
