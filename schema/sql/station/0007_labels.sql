-- One label, one port: two people who label at the same moment must not give the same one twice. Of those that have it
-- already the port that was there first keeps it.
UPDATE port SET label = '' WHERE label <> '' AND EXISTS (SELECT 1 FROM port first
    WHERE lower(first.label) = lower(port.label)
    AND (first.created_ms, first.id) < (port.created_ms, port.id));
CREATE UNIQUE INDEX port_label ON port (lower(label)) WHERE label <> '';
