-- What the transcripts of the documentation start from, made anew for each
-- page by t/docs.pl: a database "app" with the extension, and a database
-- "reports", filled as by "pgbench -i", with the server "reports" that names it.
--
-- Roles: postgres, a superuser, who runs the transcripts; app, an ordinary role
-- that may use the functions and the server; guest, one that may not; reporter,
-- as whom the server's users connect.

SET client_min_messages = warning;
DROP DATABASE IF EXISTS app WITH (FORCE);
DROP DATABASE IF EXISTS reports WITH (FORCE);
DROP ROLE IF EXISTS app, guest, reporter;

CREATE ROLE app LOGIN PASSWORD 'app-secret';
CREATE ROLE guest LOGIN PASSWORD 'guest-secret';
CREATE ROLE reporter LOGIN PASSWORD 'reporter-secret';
CREATE DATABASE app;
CREATE DATABASE reports OWNER reporter;

\c reports
SET SESSION AUTHORIZATION reporter;
CREATE TABLE pgbench_history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22));
CREATE TABLE pgbench_tellers (tid int NOT NULL, bid int, tbalance int, filler char(84), PRIMARY KEY (tid)) WITH (fillfactor = 100);
CREATE TABLE pgbench_accounts (aid int NOT NULL, bid int, abalance int, filler char(84), PRIMARY KEY (aid)) WITH (fillfactor = 100);
CREATE TABLE pgbench_branches (bid int NOT NULL, bbalance int, filler char(88), PRIMARY KEY (bid)) WITH (fillfactor = 100);
INSERT INTO pgbench_branches (bid, bbalance) VALUES (1, 0);
INSERT INTO pgbench_tellers (tid, bid, tbalance) SELECT tid, 1, 0 FROM generate_series(1, 10) AS tid;
INSERT INTO pgbench_accounts SELECT aid, 1, 0, '' FROM generate_series(1, 100000) AS aid;

\c app
CREATE EXTENSION sessmgr;
GRANT CREATE ON SCHEMA public TO app;
GRANT USAGE ON SCHEMA sessmgr TO app;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA sessmgr TO app;
CREATE SERVER reports FOREIGN DATA WRAPPER sessmgr OPTIONS (loopback 'true', dbname 'reports');
GRANT USAGE ON FOREIGN SERVER reports TO app;
CREATE USER MAPPING FOR postgres SERVER reports OPTIONS (user 'reporter', password 'reporter-secret');
CREATE USER MAPPING FOR app SERVER reports OPTIONS (user 'reporter', password 'reporter-secret');
