-- +goose Up
-- A cancel left what was held back as if it still were: it counted towards the depth of
-- its queue, and its next life was never tried again.
UPDATE tasks SET held = 0 WHERE held > 0 AND state <> 'scheduled';
