"""What the operator chooses, and how it is read."""
