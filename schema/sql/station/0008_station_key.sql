-- Which key signs is looked up at each start: the newest change of it stands in the audit.
CREATE INDEX audit_station_key ON audit (id) WHERE action = 'station.key';
