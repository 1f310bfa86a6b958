"""Accounts of a lab's server: a script of grants for its administrator, for one admin, worker and reader."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cotrain.errors import DatabaseError
from cotrain.tables._datajoint import dj
from cotrain.tables.configs import Trainer
from cotrain.tables.runs import EpochScore
from cotrain.tables.settings import PORTS
from cotrain.tables.tags import Tag
from cotrain.tables.upgrade import jobs_table_name, tables

# what an account of workers deletes: finished jobs, epochs that are computed again, tags, and values to search by of
# a trainer that is enqueued again with other epochs to keep
DELETED_BY_WORKERS = (EpochScore, Tag, Trainer.Attr)

HEAD = """\
-- Accounts of cotrain in the schema {schema}: {admin} (everything), {worker} (trains and enqueues), {reader} (looks).
-- To be run by the server's administrator, twice: before `cotrain db init`, and again after it and after each
-- `cotrain db upgrade`, since the right to delete is given for single tables. It may be run any number of times.
"""

POSTGRESQL = """\
-- Then give each account a password, in psql: \\password {admin}
{roles}
CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION {admin};
GRANT USAGE ON SCHEMA {schema} TO {worker}, {reader};

GRANT SELECT, INSERT, UPDATE, REFERENCES ON ALL TABLES IN SCHEMA {schema} TO {worker};
-- REFERENCES lets no row be changed; without it the server hides from readers which columns are keys.
GRANT SELECT, REFERENCES ON ALL TABLES IN SCHEMA {schema} TO {reader};
ALTER DEFAULT PRIVILEGES FOR ROLE {admin} IN SCHEMA {schema}
  GRANT SELECT, INSERT, UPDATE, REFERENCES ON TABLES TO {worker};
ALTER DEFAULT PRIVILEGES FOR ROLE {admin} IN SCHEMA {schema}
  GRANT SELECT, REFERENCES ON TABLES TO {reader};

DO $$ DECLARE name text; BEGIN
  ALTER SCHEMA {schema} OWNER TO {admin};  -- also of tables that another account made
  FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = '{schema}' LOOP
    EXECUTE format('ALTER TABLE {schema}.%I OWNER TO {admin}', name);
  END LOOP;
  FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = '{schema}' AND tablename IN ({deleted}) LOOP
    EXECUTE format('GRANT DELETE ON {schema}.%I TO {worker}', name);
  END LOOP;
END $$;
"""

POSTGRESQL_ROLE = """\
DO $$ BEGIN CREATE ROLE {name} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;"""

MYSQL = """\
-- New accounts are locked. Open each with a password:
--   ALTER USER '{admin}'@'%' IDENTIFIED BY '...' ACCOUNT UNLOCK;
CREATE USER IF NOT EXISTS '{admin}'@'%' ACCOUNT LOCK;
CREATE USER IF NOT EXISTS '{worker}'@'%' ACCOUNT LOCK;
CREATE USER IF NOT EXISTS '{reader}'@'%' ACCOUNT LOCK;
GRANT ALL PRIVILEGES ON `{pattern}`.* TO '{admin}'@'%';
GRANT SELECT, INSERT, UPDATE ON `{pattern}`.* TO '{worker}'@'%';
GRANT SELECT ON `{pattern}`.* TO '{reader}'@'%';

{deletes}"""

MYSQL_DELETE = """\
SET @grant = IF(
  (SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = '{schema}' AND table_name = '{table}'),
  'GRANT DELETE ON `{schema}`.`{table}` TO ''{worker}''@''%''', 'DO 0');
PREPARE statement FROM @grant; EXECUTE statement; DEALLOCATE PREPARE statement;
"""


@dataclass(frozen=True)
class Accounts:
    """Names of the three kinds of accounts."""

    admin: str = "cotrain_admin"
    worker: str = "cotrain_worker"
    reader: str = "cotrain_reader"


def grants(accounts: Accounts, *, schema: str, backend: str) -> str:
    """The script, in SQL.

    Args:
        accounts: What the accounts are called.
        schema: The schema that they are for.
        backend: `postgresql`, or `mysql`, which MariaDB takes, too.

    Raises:
        DatabaseError: Names that no server takes, or that are not three; an unknown backend.
    """
    if backend not in PORTS:
        raise DatabaseError(f"The backend is postgresql or mysql, found {backend!r}.")
    names = (accounts.admin, accounts.worker, accounts.reader)
    for name in names:
        # MySQL takes 32 characters
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", name):
            raise DatabaseError(f"An account's name here is at most 32 small letters, digits and '_', found {name!r}.")
    if len(set(names)) < len(names):
        raise DatabaseError(f"Admin, worker and reader must be three accounts, found {', '.join(names)}.")
    words = {"admin": accounts.admin, "worker": accounts.worker, "reader": accounts.reader, "schema": schema}
    deleted = [table.table_name for table in DELETED_BY_WORKERS]
    deleted += [jobs_table_name(table) for table in tables() if issubclass(table, dj.Computed)]
    head = HEAD.format(**words)
    if backend == "postgresql":
        roles = "\n".join(POSTGRESQL_ROLE.format(name=name) for name in names)
        listed = ", ".join(f"'{table}'" for table in deleted)
        return head + POSTGRESQL.format(**words, roles=roles, deleted=listed)
    deletes = "".join(MYSQL_DELETE.format(**words, table=table) for table in deleted)
    # in the name of a whole schema "_" means any character
    return head + MYSQL.format(**words, pattern=schema.replace("_", r"\_"), deletes=deletes)
