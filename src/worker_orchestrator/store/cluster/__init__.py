"""What survives the process where several replicas share a cluster: the pods, and a Lease for each assignment.

All of it is pure: nothing here sends anything, and the time comes in as data. Whoever sends calls drives the steps
(`calls.py`).

* `terms.py`         terms of office of leaders, and the generations of each
* `election.py`      one leader by a coordination Lease, and until when it may write
* `objects.py`       how machines and assignments stand in pods and Leases
* `transactions.py`  from changes of the core to writes
* `carrying_out.py`  one transaction after the other
* `ledger.py`        what a leader knows of its objects, and how it writes one of them
* `recovery.py`      from pods and Leases back to machines
* `calls.py`         what the API server is asked, and what it may answer
"""
