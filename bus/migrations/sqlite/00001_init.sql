-- +goose Up
CREATE TABLE bus_groups (
  topic TEXT NOT NULL,
  grp   TEXT NOT NULL,
  PRIMARY KEY (topic, grp)
);

CREATE TABLE bus_sequence (
  id   INTEGER PRIMARY KEY CHECK (id = 1),
  last BIGINT NOT NULL
);
INSERT INTO bus_sequence (id, last) VALUES (1, 0);

CREATE TABLE bus_messages (
  id       BIGINT PRIMARY KEY,
  uuid     TEXT   NOT NULL,
  metadata TEXT   NOT NULL,
  payload  TEXT   NOT NULL,
  base64   INTEGER NOT NULL -- 1: payload is, because it is no text
);

-- One row for each group that still has to handle a message.
CREATE TABLE bus_deliveries (
  topic       TEXT    NOT NULL,
  grp         TEXT    NOT NULL,
  message     BIGINT  NOT NULL,
  not_before  BIGINT  NOT NULL DEFAULT 0,
  lease       TEXT    NOT NULL DEFAULT '',
  lease_until BIGINT  NOT NULL DEFAULT 0,
  attempts    INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (topic, grp, message)
);
CREATE INDEX bus_deliveries_message ON bus_deliveries (message);
