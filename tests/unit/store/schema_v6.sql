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
    state      TEXT NOT NULL CHECK (state IN ('starting', 'ready', 'stopping', 'failed')),
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
    CHECK (state <> 'stopping' OR project IS NULL),
    CHECK (gone = 0 OR state = 'failed'),
    CHECK (project IS NULL OR generation > 0)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX machine_project ON machine (project) WHERE project IS NOT NULL;
CREATE UNIQUE INDEX machine_address ON machine (host, port) WHERE port IS NOT NULL AND gone = 0;

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
    reason     TEXT NOT NULL
) STRICT;

-- The events of one assignment. A new one has the highest generation, so its entry goes where the last one went.
CREATE INDEX event_assignment ON event (generation) WHERE project IS NOT NULL;

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
