"""The service as a whole: opened in order, run, and closed in reverse order."""
