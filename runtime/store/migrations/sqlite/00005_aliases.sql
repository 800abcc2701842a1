-- +goose Up
-- Idempotency keys of submits that were answered by the task that held their unique.
CREATE TABLE aliases (
  owner           TEXT NOT NULL,
  idempotency_key TEXT NOT NULL,
  body_hash       TEXT NOT NULL,
  task            TEXT NOT NULL,
  PRIMARY KEY (owner, idempotency_key)
);
CREATE INDEX aliases_task ON aliases (task);
