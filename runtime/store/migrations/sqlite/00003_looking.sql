-- +goose Up
-- What is looked at often is found without a walk over all tasks, or the whole log.
DROP INDEX tasks_ended;
CREATE INDEX tasks_ended ON tasks (state, finished_at) WHERE finished_at > 0;
CREATE INDEX tasks_later ON tasks (state, id) WHERE state IN ('scheduled', 'retrying', 'waiting');
CREATE INDEX tasks_of    ON tasks (schedule, id) WHERE schedule <> '';
CREATE INDEX events_pos  ON events (pos) WHERE task IS NULL;
