-- Queues whose jobs are given to nobody until they are resumed.
CREATE TABLE paused_queues (
    queue TEXT PRIMARY KEY,
    paused_at INTEGER NOT NULL,
    note TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Those who turn a queue's jobs into agents.
CREATE TABLE stacks (
    key TEXT PRIMARY KEY,
    definition TEXT NOT NULL,
    registered_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX jobs_waiting_by_age ON jobs (queue, place) WHERE agent IS NULL AND finished_at IS NULL;
