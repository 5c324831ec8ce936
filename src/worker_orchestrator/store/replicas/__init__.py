"""Carries out the decisions of `store/cluster` on a real API server: what several replicas of a service share.

* `sending.py`   calls as requests, answers as verdicts
* `taking.py`    steps taken one after the other, for as long as this replica may write
* `electing.py`  the election, for as long as the process runs
"""
