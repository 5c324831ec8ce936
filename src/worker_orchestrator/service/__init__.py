"""The service as a whole: opened in order, run, closed in reverse."""
