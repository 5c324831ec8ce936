-- The invariants of the design, as constraints: what the core asserts, the database refuses as well.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Whose containers these are: the label on each of them.
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
    CHECK (state <> 'stopping' OR project IS NULL),
    CHECK (gone = 0 OR state = 'failed'),
    CHECK (project IS NULL OR generation > 0)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX machine_project ON machine (project) WHERE project IS NOT NULL;
CREATE UNIQUE INDEX machine_address ON machine (host, port) WHERE port IS NOT NULL AND gone = 0;

-- Ids that we once had and let go: an instance that turns up under one of them is an orphan, not a stray.
CREATE TABLE tombstone (
    id    TEXT PRIMARY KEY,
    at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX tombstone_at ON tombstone (at_ms);

CREATE TABLE event (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms      INTEGER NOT NULL,
    machine    TEXT NOT NULL,
    pool       TEXT NOT NULL,
    project    TEXT,
    generation INTEGER NOT NULL,
    cause      TEXT NOT NULL,
    state      TEXT,
    reason     TEXT NOT NULL
) STRICT;

-- How each assignment came about. Written a moment after it, so the last ones may be missing after a crash.
CREATE TABLE trace (
    generation INTEGER PRIMARY KEY,
    trace      TEXT NOT NULL
) STRICT;

-- How the pool fared, for pictures of the last hours: samples by the length of their step. Written about once a minute.
CREATE TABLE history (
    step_s INTEGER NOT NULL,
    at_ms  INTEGER NOT NULL,
    sample TEXT NOT NULL,
    PRIMARY KEY (step_s, at_ms)
) STRICT, WITHOUT ROWID;
