"""/v1: the same pool with more to it. `openapi.yaml` is its contract.

* `routes`        which path leads where, and what an error looks like
* `parameters`    what a request has in its path, query, headers and body, checked
* `responses`     machines, events and samples as JSON
* `projects`      assign, show, release, why
* `machines`      list, show, restart, destroy
* `pools`         sizes, pause, health
* `history`       how the pool fared
* `events`        every transition, as server-sent events

In a worker, by the engine (`engine_calls`):
* `logs`          what it wrote
* `inspection`    what it uses, and its environment
* `exec`          a command
* `files`         its files (`single_file`: one file out of an archive, or into one)
* `terminal`      a terminal, over WebSocket
"""

from worker_orchestrator.http.v1.routes import v1

__all__ = ["v1"]
