"""What is told of the fleet as it happens: to observers, to followers of events, and in log lines."""
