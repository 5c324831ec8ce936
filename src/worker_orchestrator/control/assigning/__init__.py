"""How a project comes to a machine."""
