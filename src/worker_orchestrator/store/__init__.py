"""What survives the process: one SQLite file, its schema, and the lock on the folder that holds it.

* `store.py`         commits changes and reads them back
* `event_log.py`     the event table, and events that are not in it yet
* `event_numbers.py` numbers that no event gets, since a newer copy of the database may have used them
* `outbox.py`        what the webhook is still to be told
* `rows.py`          how machines and events stand in rows
* `connection.py`    executes statements
* `database.py`      opens, checks and copies the file
* `migrations.py`    makes the schema, and upgrades an older one
* `checkpoints.py`   moves SQLite's log into the file, on a thread
* `lock.py`          one process for each state directory
"""
