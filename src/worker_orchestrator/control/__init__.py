"""The imperative shell, the only writer of the fleet: it asks the core what to do, stores that, and has it done."""
