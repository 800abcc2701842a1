-- +goose Up
CREATE TABLE log_head (
  id     INTEGER PRIMARY KEY CHECK (id = 1),
  epoch  TEXT   NOT NULL,
  pos    BIGINT NOT NULL,
  pruned BIGINT NOT NULL
);

CREATE TABLE tasks (
  id              TEXT    PRIMARY KEY,
  kind            TEXT    NOT NULL,
  queue           TEXT    NOT NULL,
  state           TEXT    NOT NULL,
  priority        INTEGER NOT NULL,
  payload         TEXT    NOT NULL,
  result          TEXT,
  error           TEXT,
  progress        TEXT,
  life            INTEGER NOT NULL,
  attempt         INTEGER NOT NULL,
  max_attempts    INTEGER NOT NULL,
  plugin          TEXT    NOT NULL DEFAULT '',
  plugin_version  TEXT    NOT NULL DEFAULT '',
  reason          TEXT    NOT NULL DEFAULT '',
  created_at      BIGINT  NOT NULL,
  run_at          BIGINT  NOT NULL,
  started_at      BIGINT  NOT NULL DEFAULT 0,
  finished_at     BIGINT  NOT NULL DEFAULT 0,
  deadline        BIGINT  NOT NULL DEFAULT 0,
  timeout_ms      BIGINT  NOT NULL,
  parent          TEXT    NOT NULL DEFAULT '',
  schedule        TEXT    NOT NULL DEFAULT '',
  labels          TEXT    NOT NULL,
  owner           TEXT    NOT NULL,
  version         BIGINT  NOT NULL,
  token           BIGINT  NOT NULL DEFAULT 0,
  node            TEXT    NOT NULL DEFAULT '',
  cancel          INTEGER NOT NULL DEFAULT 0, -- 1 asked for, 2 by force
  cancel_reason   TEXT    NOT NULL DEFAULT '',
  event_seq       BIGINT  NOT NULL,
  event_bytes     BIGINT  NOT NULL DEFAULT 0,
  idempotency_key TEXT,
  body_hash       TEXT    NOT NULL DEFAULT '',
  hops            INTEGER NOT NULL DEFAULT 0,
  traceparent     TEXT    NOT NULL DEFAULT '',
  ready           INTEGER NOT NULL DEFAULT 0, -- 1: may be claimed
  line            INTEGER NOT NULL DEFAULT 0, -- place in the queue: priority, or 1000 for what goes on
  held            INTEGER NOT NULL DEFAULT 0, -- tasks of after that have not completed
  dependents      INTEGER NOT NULL DEFAULT 0, -- 1: some task may be held back by this one
  waits           INTEGER NOT NULL DEFAULT 0, -- operations that the attempt waits for
  replay          INTEGER NOT NULL DEFAULT 0, -- 1: the next claim runs the same attempt again
  ends_by         BIGINT  NOT NULL DEFAULT 0, -- when it fails if it has not ended, or not started
  unique_key      TEXT,
  concurrency_key TEXT NOT NULL DEFAULT '',
  key_shared      INTEGER NOT NULL DEFAULT 0, -- 1: it runs under the key's slot that an ancestor holds
  held_keys       TEXT    NOT NULL DEFAULT '' -- keys that ancestors hold, each between line feeds
);
CREATE UNIQUE INDEX tasks_idempotency ON tasks (owner, idempotency_key) WHERE idempotency_key IS NOT NULL;
-- The columns after id are there so that a claim finds its tasks in the index alone.
CREATE INDEX tasks_ready   ON tasks (kind, queue, line DESC, run_at, id, node, concurrency_key, key_shared) WHERE ready = 1;
CREATE INDEX tasks_due     ON tasks (run_at, id) WHERE state IN ('scheduled', 'retrying') AND held = 0;
CREATE INDEX tasks_held    ON tasks (queue) WHERE held > 0;
CREATE INDEX tasks_running ON tasks (node) WHERE node <> '';
CREATE INDEX tasks_parent  ON tasks (parent, id) WHERE parent <> '';
CREATE INDEX tasks_ends    ON tasks (ends_by, id) WHERE ends_by > 0 AND finished_at = 0;
CREATE UNIQUE INDEX tasks_unique ON tasks (unique_key) WHERE unique_key IS NOT NULL AND finished_at = 0;
-- Who holds a key's slots, or is offered one, and who stands in line for them.
CREATE INDEX tasks_key_held ON tasks (concurrency_key) WHERE concurrency_key <> '' AND key_shared = 0 AND (ready = 1 OR state IN ('running', 'waiting'));
CREATE INDEX tasks_key_line ON tasks (concurrency_key, queue, kind, line DESC, run_at, id) WHERE concurrency_key <> '' AND state = 'queued' AND ready = 0;
CREATE INDEX tasks_failed  ON tasks (id) WHERE state IN ('failed', 'cancelled');
CREATE INDEX tasks_ended   ON tasks (finished_at, state) WHERE finished_at > 0;
CREATE INDEX tasks_kind    ON tasks (kind, id);

-- The log: events of tasks, and published events (task IS NULL, data is the
-- whole event).
CREATE TABLE events (
  pos     INTEGER PRIMARY KEY,
  task    TEXT,
  seq     BIGINT  NOT NULL DEFAULT 0,
  type    TEXT    NOT NULL,
  life    INTEGER NOT NULL DEFAULT 0,
  attempt INTEGER NOT NULL DEFAULT 0,
  time    BIGINT  NOT NULL,
  data    TEXT    NOT NULL,
  is_end  INTEGER NOT NULL DEFAULT 0,
  kind    TEXT    NOT NULL DEFAULT '',
  queue   TEXT    NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX events_task ON events (task, seq) WHERE task IS NOT NULL;
CREATE INDEX events_published ON events (time) WHERE task IS NULL;

-- Which tasks are held back until others complete.
CREATE TABLE held (
  needs TEXT NOT NULL,
  task  TEXT NOT NULL,
  PRIMARY KEY (needs, task)
);
CREATE INDEX held_task ON held (task);

-- Recorded operations of attempts. An answer is a JSON object, or absent while it
-- is waited for.
CREATE TABLE operations (
  task       TEXT NOT NULL,
  life       INTEGER NOT NULL,
  name       TEXT NOT NULL,
  occurrence INTEGER NOT NULL,
  op         TEXT    NOT NULL, -- step, submit, run, await, approve
  target     TEXT NOT NULL DEFAULT '', -- kind, or signal
  child      TEXT NOT NULL DEFAULT '',
  waiting    INTEGER NOT NULL DEFAULT 0, -- 1: the attempt waits, or waited, for the answer
  due        BIGINT  NOT NULL DEFAULT 0, -- when waiting ends without one
  created    BIGINT  NOT NULL,
  answered   BIGINT  NOT NULL DEFAULT 0,
  answer     TEXT,
  PRIMARY KEY (task, life, name, occurrence)
);
CREATE INDEX operations_child  ON operations (child) WHERE child <> '' AND answered = 0;
CREATE INDEX operations_due    ON operations (due) WHERE due > 0 AND answered = 0;
CREATE INDEX operations_signal ON operations (task, target, created) WHERE op = 'await' AND answered = 0;

-- Signals that nobody has waited for yet.
CREATE TABLE signals (
  task TEXT NOT NULL,
  seq  BIGINT  NOT NULL, -- of its task.signalled event
  name TEXT NOT NULL,
  data TEXT    NOT NULL,
  PRIMARY KEY (task, seq)
);

CREATE TABLE approvals (
  id           TEXT PRIMARY KEY,
  task         TEXT NOT NULL,
  life         INTEGER NOT NULL,
  name         TEXT    NOT NULL,
  occurrence   INTEGER NOT NULL,
  question     TEXT    NOT NULL,
  detail       TEXT    NOT NULL,
  digest       TEXT    NOT NULL,
  requested_at BIGINT  NOT NULL,
  expires_at   BIGINT  NOT NULL,
  state        TEXT    NOT NULL, -- pending, approved, rejected, expired, withdrawn
  decided_by   TEXT    NOT NULL DEFAULT '',
  comment      TEXT    NOT NULL DEFAULT ''
);
CREATE INDEX approvals_task ON approvals (task);
CREATE INDEX approvals_pending ON approvals (id) WHERE state = 'pending';

CREATE TABLE deliveries (
  mark    TEXT   PRIMARY KEY,
  task    TEXT   NOT NULL,
  created BIGINT NOT NULL
);
CREATE INDEX deliveries_created ON deliveries (created);

CREATE TABLE data (
  id         INTEGER PRIMARY KEY,
  ns         TEXT   NOT NULL,
  key        TEXT   NOT NULL,
  value      TEXT   NOT NULL,
  text       TEXT   NOT NULL DEFAULT '',
  version    BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX data_key ON data (ns, key);
CREATE INDEX data_expiry ON data (expires_at) WHERE expires_at > 0;
CREATE VIRTUAL TABLE data_text USING fts5 (text, content='data', content_rowid='id', tokenize='porter unicode61');
-- +goose StatementBegin
CREATE TRIGGER data_text_insert AFTER INSERT ON data WHEN new.text <> '' BEGIN
  INSERT INTO data_text (rowid, text) VALUES (new.id, new.text);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER data_text_delete AFTER DELETE ON data WHEN old.text <> '' BEGIN
  INSERT INTO data_text (data_text, rowid, text) VALUES ('delete', old.id, old.text);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER data_text_update AFTER UPDATE OF text ON data BEGIN
  INSERT INTO data_text (data_text, rowid, text) SELECT 'delete', old.id, old.text WHERE old.text <> '';
  INSERT INTO data_text (rowid, text) SELECT new.id, new.text WHERE new.text <> '';
END;
-- +goose StatementEnd

CREATE TABLE queues (
  name   TEXT PRIMARY KEY,
  paused INTEGER NOT NULL
);

-- Rate limits of queues and keys. tat is the theoretical arrival time of the
-- generic cell rate algorithm, in microseconds.
CREATE TABLE rates (
  queue TEXT NOT NULL,
  key   TEXT NOT NULL, -- '': of the queue as a whole
  tat   BIGINT NOT NULL,
  due   BIGINT NOT NULL DEFAULT 0, -- milliseconds: when the key's next task may start
  PRIMARY KEY (queue, key)
);
CREATE INDEX rates_due ON rates (due) WHERE due > 0;

CREATE TABLE nodes (
  id      TEXT PRIMARY KEY,
  beat    BIGINT NOT NULL,
  started BIGINT NOT NULL,
  running INTEGER NOT NULL
);

-- Schedules. version changes with every write: see runtime.ScheduleStore.
CREATE TABLE schedules (
  id           TEXT PRIMARY KEY,
  name         TEXT NOT NULL,
  source       TEXT NOT NULL, -- config, api
  cron         TEXT    NOT NULL,
  zone         TEXT    NOT NULL,
  every_ms     BIGINT  NOT NULL,
  once_at      BIGINT  NOT NULL,
  since        BIGINT  NOT NULL, -- where every begins
  kind         TEXT    NOT NULL,
  payload      TEXT    NOT NULL,
  queue        TEXT    NOT NULL,
  priority     INTEGER NOT NULL,
  timeout_ms   BIGINT  NOT NULL,
  max_attempts INTEGER NOT NULL,
  missed       TEXT    NOT NULL, -- once, skip, all
  overlap      TEXT    NOT NULL, -- skip, allow, cancel_previous
  jitter_ms    BIGINT  NOT NULL,
  paused       INTEGER NOT NULL,
  next_at      BIGINT  NOT NULL, -- 0: none
  last_at      BIGINT  NOT NULL,
  last_task    TEXT    NOT NULL,
  fault        TEXT    NOT NULL,
  owner        TEXT    NOT NULL,
  version      BIGINT  NOT NULL
);
CREATE UNIQUE INDEX schedules_name ON schedules (name, source);
CREATE INDEX schedules_due ON schedules (next_at, id) WHERE next_at > 0;
CREATE INDEX tasks_schedule ON tasks (schedule) WHERE schedule <> '' AND finished_at = 0;
