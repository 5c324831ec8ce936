"""What the shell does in the world: calls to the engine, probes of workers, and what comes back from there."""
