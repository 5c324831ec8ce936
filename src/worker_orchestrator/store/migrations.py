"""The schema of the database and its versions: `schema.sql` makes a fresh database, the missing steps upgrade an older one.

Each function gets an open connection and writes in one transaction. `database.py` decides when, and makes the copies.
"""

from __future__ import annotations

from importlib import resources
from typing import Final

import apsw

__all__ = ["APPLICATION_ID", "SCHEMA_VERSION", "STEPS", "create_schema", "migrate", "persist_events_of_rows"]

STEPS: Final[tuple[str, ...]] = (
    """
    ALTER TABLE machine ADD COLUMN metadata TEXT NOT NULL DEFAULT '';
    ALTER TABLE machine ADD COLUMN changed_ms INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE trace (generation INTEGER PRIMARY KEY, trace TEXT NOT NULL) STRICT
    """,
    """
    CREATE TABLE history (
        step_s INTEGER NOT NULL, at_ms INTEGER NOT NULL, sample TEXT NOT NULL, PRIMARY KEY (step_s, at_ms)
    ) STRICT, WITHOUT ROWID
    """,
    """
    ALTER TABLE event RENAME TO old_event;
    CREATE TABLE event (
        seq INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, machine TEXT NOT NULL, pool TEXT NOT NULL, project TEXT,
        generation INTEGER NOT NULL, cause TEXT NOT NULL, state TEXT, reason TEXT NOT NULL
    ) STRICT;
    INSERT INTO event SELECT * FROM old_event;
    DROP TABLE old_event
    """,
    """
    ALTER TABLE machine ADD COLUMN event_seq INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE machine ADD COLUMN event_cause TEXT NOT NULL DEFAULT '';
    ALTER TABLE machine ADD COLUMN event_project TEXT
    """,
    # Events of an assignment are found by an index. Tombstones are in the order of their numbers. A machine that vanished by
    # itself while a project had it, and was forgotten, leaves none any more.
    """
    CREATE INDEX event_assignment ON event (generation) WHERE project IS NOT NULL;
    DROP INDEX tombstone_at;
    ALTER TABLE tombstone RENAME TO old_tombstone;
    CREATE TABLE tombstone (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE) STRICT;
    INSERT INTO tombstone (id) SELECT id FROM old_tombstone
        WHERE id NOT IN (SELECT machine FROM event WHERE cause = 'forgotten' AND project IS NOT NULL) ORDER BY at_ms, id;
    DROP TABLE old_tombstone
    """,
    # Machines may have several host ports. All are in a table of their own, which replaces the index of the first ones.
    """
    ALTER TABLE machine ADD COLUMN ports TEXT NOT NULL DEFAULT '[]'
        CHECK (json_array_length(ports) = 0 OR json_extract(ports, '$[0][1]') IS port);
    CREATE TABLE machine_port (
        host    TEXT NOT NULL,
        port    INTEGER NOT NULL CHECK (port BETWEEN 1 AND 65535),
        machine TEXT NOT NULL,
        name    TEXT NOT NULL,
        PRIMARY KEY (host, port)
    ) STRICT, WITHOUT ROWID;
    CREATE TRIGGER machine_takes_ports AFTER INSERT ON machine BEGIN
        INSERT INTO machine_port SELECT new.host, json_extract(value, '$[1]'), new.id, json_extract(value, '$[0]')
            FROM json_each(iif(new.ports = '[]', json_array(json_array('', new.port)), new.ports))
            WHERE new.port IS NOT NULL AND new.gone = 0;
    END;
    CREATE TRIGGER machine_changes_ports AFTER UPDATE OF id, host, port, ports, gone ON machine BEGIN
        DELETE FROM machine_port WHERE machine = old.id AND host = old.host
            AND port IN (SELECT json_extract(value, '$[1]') FROM json_each(old.ports) UNION SELECT old.port);
        INSERT INTO machine_port SELECT new.host, json_extract(value, '$[1]'), new.id, json_extract(value, '$[0]')
            FROM json_each(iif(new.ports = '[]', json_array(json_array('', new.port)), new.ports))
            WHERE new.port IS NOT NULL AND new.gone = 0;
    END;
    CREATE TRIGGER machine_leaves_ports AFTER DELETE ON machine BEGIN
        DELETE FROM machine_port WHERE machine = old.id AND host = old.host
            AND port IN (SELECT json_extract(value, '$[1]') FROM json_each(old.ports) UNION SELECT old.port);
    END;
    INSERT INTO machine_port SELECT host, port, id, '' FROM machine WHERE port IS NOT NULL AND gone = 0;
    DROP INDEX machine_address
    """,
    # Assignments may have deadlines, and machines may sleep. SQLite cannot change a constraint, so the table is made anew.
    # A webhook is told of deadlines.
    """
    DROP TRIGGER machine_takes_ports;
    DROP TRIGGER machine_changes_ports;
    DROP TRIGGER machine_leaves_ports;
    DROP INDEX machine_project;
    ALTER TABLE machine RENAME TO old_machine;
    CREATE TABLE machine (
        id         TEXT PRIMARY KEY,
        pool       TEXT NOT NULL,
        template   TEXT NOT NULL,
        state      TEXT NOT NULL CHECK (state IN ('starting', 'ready', 'sleeping', 'stopping', 'failed')),
        port       INTEGER CHECK (port BETWEEN 1 AND 65535),
        project    TEXT,
        generation INTEGER NOT NULL CHECK (generation >= 0),
        host       TEXT NOT NULL,
        gone       INTEGER NOT NULL CHECK (gone IN (0, 1)),
        reason     TEXT NOT NULL,
        evidence   TEXT NOT NULL,
        metadata   TEXT NOT NULL DEFAULT '',
        changed_ms INTEGER NOT NULL DEFAULT 0,
        event_seq     INTEGER NOT NULL DEFAULT 0,
        event_cause   TEXT NOT NULL DEFAULT '',
        event_project TEXT,
        ports         TEXT NOT NULL DEFAULT '[]'
            CHECK (json_array_length(ports) = 0 OR json_extract(ports, '$[0][1]') IS port),
        lease         TEXT NOT NULL DEFAULT '',
        CHECK (lease = '' OR (project IS NOT NULL AND json_valid(lease))),
        CHECK (state <> 'sleeping' OR project IS NOT NULL),
        CHECK (state <> 'stopping' OR project IS NULL),
        CHECK (gone = 0 OR state = 'failed'),
        CHECK (project IS NULL OR generation > 0)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO machine SELECT id, pool, template, state, port, project, generation, host, gone, reason, evidence, metadata,
        changed_ms, event_seq, event_cause, event_project, ports, '' FROM old_machine;
    DROP TABLE old_machine;
    CREATE UNIQUE INDEX machine_project ON machine (project) WHERE project IS NOT NULL;
    CREATE TRIGGER machine_takes_ports AFTER INSERT ON machine BEGIN
        INSERT INTO machine_port SELECT new.host, json_extract(value, '$[1]'), new.id, json_extract(value, '$[0]')
            FROM json_each(iif(new.ports = '[]', json_array(json_array('', new.port)), new.ports))
            WHERE new.port IS NOT NULL AND new.gone = 0;
    END;
    CREATE TRIGGER machine_changes_ports AFTER UPDATE OF id, host, port, ports, gone ON machine BEGIN
        DELETE FROM machine_port WHERE machine = old.id AND host = old.host
            AND port IN (SELECT json_extract(value, '$[1]') FROM json_each(old.ports) UNION SELECT old.port);
        INSERT INTO machine_port SELECT new.host, json_extract(value, '$[1]'), new.id, json_extract(value, '$[0]')
            FROM json_each(iif(new.ports = '[]', json_array(json_array('', new.port)), new.ports))
            WHERE new.port IS NOT NULL AND new.gone = 0;
    END;
    CREATE TRIGGER machine_leaves_ports AFTER DELETE ON machine BEGIN
        DELETE FROM machine_port WHERE machine = old.id AND host = old.host
            AND port IN (SELECT json_extract(value, '$[1]') FROM json_each(old.ports) UNION SELECT old.port);
    END;
    CREATE TABLE outbox (
        number  INTEGER PRIMARY KEY AUTOINCREMENT,
        id      TEXT NOT NULL,
        at_ms   INTEGER NOT NULL,
        project TEXT NOT NULL,
        body    TEXT NOT NULL
    ) STRICT;
    ALTER TABLE event ADD COLUMN deadline TEXT CHECK (cause <> 'expired' OR deadline IS NOT NULL);
    CREATE INDEX event_expired ON event (pool, seq) WHERE cause = 'expired'
    """,
    # Machines may be configured while they run.
    """
    ALTER TABLE machine ADD COLUMN configuration TEXT NOT NULL DEFAULT '' CHECK (configuration = '' OR (
        json_valid(configuration) AND (project IS NOT NULL OR state <> 'ready')
        AND (project IS NULL OR state = 'ready' OR json_extract(configuration, '$.stage') IN ('failed', 'lost'))))
    """,
    # Machines may be parked. SQLite cannot change a constraint, so the table is made anew.
    """
    DROP TRIGGER machine_takes_ports;
    DROP TRIGGER machine_changes_ports;
    DROP TRIGGER machine_leaves_ports;
    DROP INDEX machine_project;
    ALTER TABLE machine RENAME TO old_machine;
    CREATE TABLE machine (
        id         TEXT PRIMARY KEY,
        pool       TEXT NOT NULL,
        template   TEXT NOT NULL,
        state      TEXT NOT NULL CHECK (state IN ('starting', 'ready', 'parked', 'sleeping', 'stopping', 'failed')),
        port       INTEGER CHECK (port BETWEEN 1 AND 65535),
        project    TEXT,
        generation INTEGER NOT NULL CHECK (generation >= 0),
        host       TEXT NOT NULL,
        gone       INTEGER NOT NULL CHECK (gone IN (0, 1)),
        reason     TEXT NOT NULL,
        evidence   TEXT NOT NULL,
        metadata   TEXT NOT NULL DEFAULT '',
        changed_ms INTEGER NOT NULL DEFAULT 0,
        event_seq     INTEGER NOT NULL DEFAULT 0,
        event_cause   TEXT NOT NULL DEFAULT '',
        event_project TEXT,
        ports         TEXT NOT NULL DEFAULT '[]'
            CHECK (json_array_length(ports) = 0 OR json_extract(ports, '$[0][1]') IS port),
        lease         TEXT NOT NULL DEFAULT '',
        configuration TEXT NOT NULL DEFAULT '' CHECK (configuration = '' OR (json_valid(configuration)
            AND (project IS NOT NULL OR state NOT IN ('ready', 'parked'))
            AND (project IS NULL OR state = 'ready' OR json_extract(configuration, '$.stage') IN ('failed', 'lost')))),
        CHECK (lease = '' OR (project IS NOT NULL AND json_valid(lease))),
        CHECK (state <> 'sleeping' OR project IS NOT NULL),
        CHECK (state <> 'parked' OR project IS NULL),
        CHECK (state <> 'stopping' OR project IS NULL),
        CHECK (gone = 0 OR state = 'failed'),
        CHECK (project IS NULL OR generation > 0)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO machine SELECT id, pool, template, state, port, project, generation, host, gone, reason, evidence, metadata,
        changed_ms, event_seq, event_cause, event_project, ports, lease, configuration FROM old_machine;
    DROP TABLE old_machine;
    CREATE UNIQUE INDEX machine_project ON machine (project) WHERE project IS NOT NULL;
    CREATE TRIGGER machine_takes_ports AFTER INSERT ON machine BEGIN
        INSERT INTO machine_port SELECT new.host, json_extract(value, '$[1]'), new.id, json_extract(value, '$[0]')
            FROM json_each(iif(new.ports = '[]', json_array(json_array('', new.port)), new.ports))
            WHERE new.port IS NOT NULL AND new.gone = 0;
    END;
    CREATE TRIGGER machine_changes_ports AFTER UPDATE OF id, host, port, ports, gone ON machine BEGIN
        DELETE FROM machine_port WHERE machine = old.id AND host = old.host
            AND port IN (SELECT json_extract(value, '$[1]') FROM json_each(old.ports) UNION SELECT old.port);
        INSERT INTO machine_port SELECT new.host, json_extract(value, '$[1]'), new.id, json_extract(value, '$[0]')
            FROM json_each(iif(new.ports = '[]', json_array(json_array('', new.port)), new.ports))
            WHERE new.port IS NOT NULL AND new.gone = 0;
    END;
    CREATE TRIGGER machine_leaves_ports AFTER DELETE ON machine BEGIN
        DELETE FROM machine_port WHERE machine = old.id AND host = old.host
            AND port IN (SELECT json_extract(value, '$[1]') FROM json_each(old.ports) UNION SELECT old.port);
    END
    """,
    # When projects came for machines of a pool, and what was learned from that.
    """
    CREATE TABLE arrival (
        pool    TEXT NOT NULL,
        minute  INTEGER NOT NULL,
        count   INTEGER NOT NULL CHECK (count > 0),
        offsets BLOB NOT NULL,
        PRIMARY KEY (pool, minute)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX arrival_minute ON arrival (minute);
    CREATE TABLE demand (pool TEXT PRIMARY KEY, learned TEXT NOT NULL) STRICT, WITHOUT ROWID
    """,
    # Callers beside the operator have keys.
    """
    CREATE TABLE key (
        name         TEXT PRIMARY KEY
            CHECK (length(name) BETWEEN 1 AND 32 AND name NOT GLOB '*[^a-z0-9-]*' AND name NOT LIKE '-%'),
        digest       BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
        pools        TEXT NOT NULL CHECK (json_type(pools) = 'array'),
        max_machines INTEGER CHECK (max_machines > 0),
        may          TEXT NOT NULL CHECK (json_type(may) = 'array' AND json_array_length(may) > 0),
        created_ms   INTEGER NOT NULL,
        used_ms      INTEGER NOT NULL DEFAULT 0
    ) STRICT, WITHOUT ROWID
    """,
)
"""The migrations, as SQL: the first brings version 1 to version 2, and so on. `schema.sql` is always the newest version."""
SCHEMA_VERSION: Final = 1 + len(STEPS)
APPLICATION_ID: Final = 0x776F726B  # "work", in the header of each of our databases

_PERSIST_EVENTS_OF_ROWS: Final = """
INSERT INTO event
    SELECT event_seq, changed_ms, id, pool, event_project, generation, event_cause, state, reason, NULL FROM machine
    WHERE event_seq > ifnull((SELECT max(seq) FROM event), 0)
"""


def create_schema(db: apsw.Connection, version: int = SCHEMA_VERSION) -> None:
    """Fill an empty database with the newest schema, under this version."""
    schema = resources.files(__package__).joinpath("schema.sql").read_text(encoding="utf-8")
    header = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {version};"
    _run(db, f"BEGIN; {schema}; {header} COMMIT;")


def migrate(db: apsw.Connection, version: int, steps: tuple[str, ...]) -> None:
    """Bring a database of this version to the newest one, `1 + len(steps)`. Raises apsw.Error, with nothing changed."""
    script = "".join(f"{step};\n" for step in steps[version - 1 :])
    _run(db, f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {1 + len(steps)}; COMMIT;")


def persist_events_of_rows(db: apsw.Connection) -> None:
    """Write the events that rows of machines still hold into the event table: the last process ended before it did."""
    _run(db, _PERSIST_EVENTS_OF_ROWS)


def _run(db: apsw.Connection, script: str) -> None:
    """Run the whole script: SQLite goes on after a statement that returns rows only once they are read."""
    db.execute(script).fetchall()
