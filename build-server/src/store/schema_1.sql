-- Times are Unix milliseconds. `definition` columns hold the request as JSON.
CREATE TABLE builds (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    definition TEXT NOT NULL,
    idempotency_key TEXT UNIQUE,
    digest BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- A job waits while it has no agent and no end; it is held while it has an agent and no end.
CREATE TABLE jobs (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    build INTEGER NOT NULL REFERENCES builds (number),
    definition TEXT NOT NULL,
    queue TEXT NOT NULL,
    priority INTEGER NOT NULL,
    state TEXT NOT NULL,
    since INTEGER NOT NULL,
    agent TEXT,
    agent_name TEXT,
    taken_from TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    time_limit INTEGER,
    created_at INTEGER NOT NULL,
    assigned_at INTEGER,
    started_at INTEGER,
    finished_at INTEGER,
    exit_status INTEGER,
    signal TEXT,
    signal_reason TEXT,
    reason TEXT,
    chunks_failed INTEGER NOT NULL DEFAULT 0,
    log_bytes INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX jobs_of_build ON jobs (build);
CREATE INDEX jobs_waiting ON jobs (queue, priority DESC, place) WHERE agent IS NULL AND finished_at IS NULL;
CREATE UNIQUE INDEX jobs_held ON jobs (agent) WHERE agent IS NOT NULL AND finished_at IS NULL;

CREATE TABLE agents (
    id TEXT PRIMARY KEY,
    definition TEXT NOT NULL,
    name TEXT NOT NULL,
    queue TEXT NOT NULL,
    priority INTEGER NOT NULL,
    token BLOB NOT NULL UNIQUE,
    state TEXT NOT NULL,
    stopping INTEGER NOT NULL DEFAULT 0,
    paused_until INTEGER,
    ignore_in_dispatches INTEGER NOT NULL,
    registered_at INTEGER NOT NULL,
    gone_at INTEGER
) STRICT;
CREATE INDEX agents_connected ON agents (queue) WHERE state = 'connected';

CREATE TABLE chunks (
    job INTEGER NOT NULL REFERENCES jobs (place),
    sequence INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (job, sequence)
) STRICT;

CREATE TABLE header_times (
    job INTEGER NOT NULL REFERENCES jobs (place),
    line INTEGER NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (job, line)
) STRICT, WITHOUT ROWID;

CREATE TABLE meta_data (
    build INTEGER NOT NULL REFERENCES builds (number),
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (build, key)
) STRICT, WITHOUT ROWID;
