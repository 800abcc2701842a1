-- +goose Up
-- Idempotency keys of submits that were answered by the task that held their unique.
CREATE TABLE aliases (
  owner           TEXT COLLATE "C" NOT NULL,
  idempotency_key TEXT COLLATE "C" NOT NULL,
  body_hash       TEXT COLLATE "C" NOT NULL,
  task            TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (owner, idempotency_key)
);
CREATE INDEX aliases_task ON aliases (task);
