"""`python -m worker_orchestrator` is `orchestrator`."""

from worker_orchestrator.cli import main

if __name__ == "__main__":
    main()
