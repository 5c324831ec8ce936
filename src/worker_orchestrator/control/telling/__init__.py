"""What is told of the fleet: to callers, to followers of events, and to a monitoring system."""
