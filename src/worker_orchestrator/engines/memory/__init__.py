"""An engine inside the process, for the demo and for tests."""
