"""HTTP as this service speaks it: connections, limits, and the two readers of requests."""
