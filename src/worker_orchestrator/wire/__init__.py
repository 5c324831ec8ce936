"""The JSON shapes of both APIs, shared by the service and its client."""
