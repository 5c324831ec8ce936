"""How the pool fared: samples of the last minutes and hours, for charts."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from worker_orchestrator.control.reading.history import LONGEST_S, History
from worker_orchestrator.http.v1 import parameters
from worker_orchestrator.http.v1.responses import json_response, sample
from worker_orchestrator.wire import v1 as wire

__all__ = ["HistoryRoute"]

SHORTEST_S = 60
USUAL_S = 3_600


class HistoryRoute:
    """What is under /v1/history."""

    def __init__(self, history: History) -> None:
        self._history = history

    async def show(self, request: Request) -> Response:
        past_s = parameters.number(request.query_params, "seconds", SHORTEST_S, LONGEST_S) or USUAL_S
        step_s, samples = self._history.samples(past_s)
        return json_response(wire.History(step_seconds=step_s, samples=[sample(one) for one in samples]))
