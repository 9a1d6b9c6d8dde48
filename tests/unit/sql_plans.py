#!/usr/bin/python3
"""Every SQL statement in server/store, whether a test runs it or not: SQLite's plan for it reads no table as a whole.
The statements are the string literals of the preprocessed sources, the tables those of schema/sql.
Usage: sql_plans.py CHECKOUT [-v]"""
import pathlib
import re
import sqlite3
import subprocess
import sys

LITERALS = re.compile(r'(?:"(?:\\.|[^"\\])*"\s*)+')
ONE = re.compile(r'"((?:\\.|[^"\\])*)"')
STATEMENT = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\s", re.I)
# Read at a start or a check only; ports are as many as there are sockets, keys two at the most.
WHOLE_ON_PURPOSE = ("sqlite_schema", "pragma_", "FROM port p ", "FROM seal_key")
OF_FEW_ROWS = ("INDEX backup_damaged",)  # a partial index: those rows, of however many the table has
FEWEST = 60  # statements there are at least; fewer: this test no longer finds them


def statements(checkout):
    for source in sorted((checkout / "server/store").glob("*.c")):
        text = subprocess.run(["cc", "-E", "-P", "-D_GNU_SOURCE", "-I", str(checkout), str(source)], check=True,
                              capture_output=True, text=True).stdout
        for match in LITERALS.finditer(text):
            sql = "".join(ONE.findall(match.group())).replace('\\"', '"').replace("\\n", "\n")
            if STATEMENT.match(sql):
                yield source.name, sql


def database(checkout, name):
    db = sqlite3.connect(":memory:")
    for migration in sorted((checkout / "schema/sql" / name).glob("*.sql")):
        db.executescript(migration.read_text())
    return db


def plan(databases, sql):
    """Lines of the plan in the database that has the tables."""
    error = None
    for db in databases:
        try:
            rows = db.execute("EXPLAIN QUERY PLAN " + sql, dict.fromkeys(re.findall(r":(\w+)", sql)))
            return [row[3] for row in rows]
        except sqlite3.OperationalError as e:
            error = error if error and "no such table" not in str(error) else e
    raise SystemExit(f"{error}: {sql}")


def whole_reads(sql, lines):
    """The first row in the order of a key is found at once, though SQLite calls it a scan."""
    first_of_key = sql.endswith("LIMIT 1") and not any("TEMP B-TREE" in line for line in lines)
    return [line for line in lines if line.startswith("SCAN") and "CONSTANT ROW" not in line and not first_of_key
            and not line.endswith(OF_FEW_ROWS)]


def main():
    checkout = pathlib.Path(sys.argv[1])
    databases = [database(checkout, "station"), database(checkout, "backups")]
    count, bad = 0, 0
    for name, sql in statements(checkout):
        count += 1
        lines = plan(databases, sql)
        if "-v" in sys.argv:
            print(f"{name}: {sql}\n\t" + "\n\t".join(lines))
        if whole_reads(sql, lines) and not any(word in sql for word in WHOLE_ON_PURPOSE):
            bad += 1
            print(f"{name}: {sql}\n\t" + "\n\t".join(lines))
    print(f"{count} statements, {bad} read a whole table")
    return 1 if bad or count < FEWEST else 0


if __name__ == "__main__":
    sys.exit(main())
