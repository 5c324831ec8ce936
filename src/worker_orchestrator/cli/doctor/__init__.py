"""`orchestrator doctor`: checks of the engine, of this computer and of the workers' network, and the report of them all."""
