-- The invariants of the design, as constraints: the database refuses as well what the core asserts to be impossible.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The owner of the containers, which is a label on each of them.
INSERT INTO meta VALUES ('owner', lower(hex(randomblob(8))));

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
    -- The last event of a machine that was committed alone. If its number is above all numbers in the event table, it is not
    -- in there yet.
    event_seq     INTEGER NOT NULL DEFAULT 0,
    event_cause   TEXT NOT NULL DEFAULT '',
    event_project TEXT,
    -- Its host ports with their names, [["http",9093],["hmr",9094]]; empty if they have none.
    ports         TEXT NOT NULL DEFAULT '[]' CHECK (json_array_length(ports) = 0 OR json_extract(ports, '$[0][1]') IS port),
    -- For how long its project has it, as JSON (`core/lease.py`); empty without a limit.
    lease         TEXT NOT NULL DEFAULT '',
    -- What is known of its configuration, as JSON (`core/configuration.py`); empty for a clean machine. No values are stored.
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

CREATE UNIQUE INDEX machine_project ON machine (project) WHERE project IS NOT NULL;

-- Every host port of every machine that is not gone, so that no two machines have the same one. Triggers keep it, and therefore
-- it says what `machine` says. A change that leaves a machine where it is, such as an assignment, does not come here.
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

-- Ids of machines that we removed: an instance that turns up under one of them is an orphan, not a stray. They are numbered
-- in the order in which they came, since the clock may be wrong.
CREATE TABLE tombstone (
    number INTEGER PRIMARY KEY,
    id     TEXT NOT NULL UNIQUE
) STRICT;

-- The newest rows are kept, so that no number is used twice. The last generation is the highest one here or in meta.
CREATE TABLE event (
    seq        INTEGER PRIMARY KEY,
    at_ms      INTEGER NOT NULL,
    machine    TEXT NOT NULL,
    pool       TEXT NOT NULL,
    project    TEXT,
    generation INTEGER NOT NULL,
    cause      TEXT NOT NULL,
    state      TEXT,
    reason     TEXT NOT NULL,
    -- The deadline of the assignment that caused it, or that comes soon.
    deadline   TEXT CHECK (cause <> 'expired' OR deadline IS NOT NULL)
) STRICT;

-- The events of one assignment. A new one has the highest generation, so its entry goes where the last one went.
CREATE INDEX event_assignment ON event (generation) WHERE project IS NOT NULL;

-- The assignments that a deadline ended: a pool tells of the last ones whenever somebody looks at it.
CREATE INDEX event_expired ON event (pool, seq) WHERE cause = 'expired';

-- How each assignment came about. Written a moment after the assignment, so the last ones may be missing after a crash.
CREATE TABLE trace (
    generation INTEGER PRIMARY KEY,
    trace      TEXT NOT NULL
) STRICT;

-- The state of the pool over time, for charts of the last hours: samples by the length of their step, written about once a
-- minute.
CREATE TABLE history (
    step_s INTEGER NOT NULL,
    at_ms  INTEGER NOT NULL,
    sample TEXT NOT NULL,
    PRIMARY KEY (step_s, at_ms)
) STRICT, WITHOUT ROWID;

-- What the webhook is to be told, until it was. The numbers are never used twice, and are those of the order of the changes.
CREATE TABLE outbox (
    number  INTEGER PRIMARY KEY AUTOINCREMENT,
    id      TEXT NOT NULL,
    at_ms   INTEGER NOT NULL,
    project TEXT NOT NULL,
    body    TEXT NOT NULL
) STRICT;

-- When projects came for machines of a pool: one row for each minute in which somebody came, written about once a minute. The
-- times in the minute are milliseconds, two bytes each, the lower one first. No project is named. Five weeks are kept.
CREATE TABLE arrival (
    pool    TEXT NOT NULL,
    minute  INTEGER NOT NULL,
    count   INTEGER NOT NULL CHECK (count > 0),
    offsets BLOB NOT NULL,
    PRIMARY KEY (pool, minute)
) STRICT, WITHOUT ROWID;

CREATE INDEX arrival_minute ON arrival (minute);

-- What was learned of the demand for a pool.
CREATE TABLE demand (
    pool    TEXT PRIMARY KEY,
    learned TEXT NOT NULL
) STRICT, WITHOUT ROWID;
