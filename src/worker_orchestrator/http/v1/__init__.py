"""/v1: the same pool with more to it. `openapi.yaml` is its contract.

* `routes.py`   which path leads where, and what an error looks like
* `parameters.py` what a request asks for, checked
* `shapes.py`   how machines, pools and events are told
* `projects.py` assign, read, release, why
* `machines.py` list, show, destroy
* `worker.py`   logs, stats, exec and files of a worker
* `terminal.py` a terminal in a worker, over WebSocket
* `pools.py`    sizes, pause, health
* `history.py`  how the pool fared
* `events.py`   every transition, as server-sent events
"""

from worker_orchestrator.http.v1.routes import v1

__all__ = ["v1"]
