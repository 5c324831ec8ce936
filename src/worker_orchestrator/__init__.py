"""A durable warm pool of worker containers on plain Docker, behind a small HTTP API."""
