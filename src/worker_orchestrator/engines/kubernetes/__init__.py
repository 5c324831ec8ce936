"""Machines as pods of Kubernetes: one bare pod for each, named after it, found again by its labels."""
