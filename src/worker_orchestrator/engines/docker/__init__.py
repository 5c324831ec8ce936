"""Machines as Docker containers."""
