--
-- What all tests use: the extension, a server that leads back to this database,
-- and roles without and with rights.
--
SELECT current_database() AS db, current_user AS me \gset
CREATE EXTENSION sessmgr;

-- "loop" leads to this database, over its own socket
CREATE SERVER loop FOREIGN DATA WRAPPER sessmgr
    OPTIONS (loopback 'true', dbname :'db');
CREATE USER MAPPING FOR CURRENT_USER SERVER loop OPTIONS (user :'me');

CREATE ROLE regress_sm_user;
CREATE ROLE regress_sm_other;
CREATE ROLE regress_sm_none;

-- the one GRANT recipe of the documentation
GRANT USAGE ON SCHEMA sessmgr TO regress_sm_user, regress_sm_other;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA sessmgr TO regress_sm_user, regress_sm_other;
GRANT USAGE ON FOREIGN SERVER loop TO regress_sm_user;

-- regress_sm_user comes back as the superuser, without a password, because a
-- superuser said so
CREATE USER MAPPING FOR regress_sm_user SERVER loop
    OPTIONS (user :'me', password_required 'false');

-- a table on the target
CREATE TABLE public.kv (k integer PRIMARY KEY, v text);
INSERT INTO kv SELECT i, 'v' || i FROM generate_series(1, 10) i;
GRANT ALL ON kv TO PUBLIC;

SELECT sessmgr.scalar('loop', 'SELECT 1');
