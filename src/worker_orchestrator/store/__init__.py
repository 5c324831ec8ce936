"""What survives the process: one SQLite file, its schema, and the lock on the folder that holds it."""
