"""The shell: the only writer of the fleet. It lists, asks the pure core what to do, stores that, and has it done.

* `shell.py`     what is public: the commands and the reading
* `wiring.py`    how the parts are joined, and the loops
* `search.py`    the way of one project to a machine
* `ticker.py`    list the engine, compare, commit, act
* `decisions.py` what every part decides with
* `journal.py`   decide in memory, commit once per turn of the event loop, undo what could not be stored
* `actions.py`   calls to the engine: one at a time per machine, each with a time-out
* `seats.py`     requests that wait for a machine: one seat per project, however many clients share it
* `probers.py`   asks workers whether they serve
* `pools.py`     the sizes that are in force, and what was changed at run time
* `views.py`     what is told of the fleet
* `feed.py`      what happens, as a stream that can be taken up again
* `templates.py` keeps track of what the engine would run now
* `observer.py`  to whom all of this is told
* `traces.py`    how each project came to its machine
* `gauges.py`    how the fleet stands, in numbers
"""

from worker_orchestrator.orchestrator.shell import (
    Assignment,
    Health,
    Limits,
    MachineView,
    Orchestrator,
    Status,
)

__all__ = ["Assignment", "Health", "Limits", "MachineView", "Orchestrator", "Status"]
