-- +goose Up
-- From here on a row of events may be a run: consecutive events of one task, with an
-- empty type and an array as data, at the pos and seq of the last. Nothing changes in
-- the tables; a program that knows single events only refuses the database.
SELECT 1;
