"""One of several replicas of a service: it stands in the election, stands by, and leads for as long as it is elected.

* `replica.py`   the process, from its start to its end
* `standing_by.py` the server of one that does not lead
* `relaying.py`  one connection of it
* `answers.py`   what it answers itself
* `leading.py`   one term as the leader
"""
