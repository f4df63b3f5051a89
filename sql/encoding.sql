--
-- Targets, and this end, in other encodings.  The database of this test is in
-- UTF8, and so is what the client sends and shows.
--
SET lock_timeout = '20s';
SET client_encoding = 'UTF8';
SELECT current_database() AS db \gset
CREATE DATABASE regress_sm_latin1 TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C';
CREATE DATABASE regress_sm_eucjp TEMPLATE template0 ENCODING 'EUC_JP' LOCALE 'C';
CREATE DATABASE regress_sm_ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C';
\pset format unaligned
\pset tuples_only on

-- UTF8 here
SELECT sessmgr.scalar('loopback:regress_sm_latin1', 'SHOW server_encoding'), sessmgr.scalar('loopback:regress_sm_latin1', 'SELECT $1', 'grüße'),
       sessmgr.scalar('loopback:regress_sm_latin1', 'SELECT octet_length($1::text)', 'grüße');
SELECT sessmgr.scalar('loopback:regress_sm_latin1', 'SELECT ''é'''), sessmgr.scalar('loopback:regress_sm_latin1', 'SELECT chr(233)'),
       sessmgr.scalar('loopback:regress_sm_latin1', 'SELECT $1::text[]', ARRAY['ä', NULL]);
SELECT * FROM sessmgr.query('loopback:regress_sm_latin1', 'SELECT $1 || ''ö'', $2::integer', 'ä', 1) AS t(a text, b integer);
SELECT sessmgr.query_json('loopback:regress_sm_latin1', 'SELECT 1 AS "größe", ''ß'' AS s');
SELECT sessmgr.scalar('loopback:regress_sm_eucjp', 'SELECT octet_length($1::text)', '日本語'), sessmgr.scalar('loopback:regress_sm_eucjp', 'SELECT $1::text', '日本語');
-- what the target cannot hold, as parameter and in the statement
SELECT sessmgr.scalar('loopback:regress_sm_latin1', 'SELECT $1', '日本');
\echo :SQLSTATE
SELECT sessmgr.scalar('loopback:regress_sm_latin1', 'SELECT ''日本''');
\echo :SQLSTATE
SELECT sessmgr.scalar('loopback:regress_sm_latin1', 'SELECT 1');
-- errors and notices
SELECT sessmgr.execute('loopback:regress_sm_latin1', 'SELECT * FROM "größe"');
SELECT sessmgr.execute('loopback:regress_sm_latin1', 'DO $x$ BEGIN RAISE NOTICE ''grüße''; END $x$');
-- a target that does not know what its bytes mean
SELECT sessmgr.scalar('loopback:regress_sm_ascii', 'SELECT $1', 'grüße'), sessmgr.scalar('loopback:regress_sm_ascii', 'SELECT octet_length($1::text)', 'grüße');
SELECT sessmgr.scalar('loopback:regress_sm_ascii', $$SELECT 'a' || convert_from('\xe9', 'SQL_ASCII')$$);
\echo :SQLSTATE
SELECT * FROM sessmgr.query('loopback:regress_sm_ascii', $$SELECT 1, convert_from('\xc3', 'SQL_ASCII')$$) AS t(a integer, b text);
\echo :SQLSTATE
SELECT sessmgr.query_json('loopback:regress_sm_ascii', $$SELECT convert_from('\xe9', 'SQL_ASCII') AS a$$);
\echo :SQLSTATE
-- also where it is a name
SELECT sessmgr.execute('loopback:regress_sm_ascii', $q$DO $x$ BEGIN EXECUTE format('CREATE TABLE t (%I integer)', convert_from('\xe9', 'SQL_ASCII')); INSERT INTO t VALUES (1); END $x$ $q$);
SELECT sessmgr.query_json('loopback:regress_sm_ascii', 'SELECT * FROM t');
\echo :SQLSTATE
-- in a notice the target cannot send it either
SELECT sessmgr.execute('loopback:regress_sm_ascii', $q$DO $x$ BEGIN RAISE NOTICE 'x%x', convert_from('\xe9', 'SQL_ASCII'); RAISE EXCEPTION 'y%y', convert_from('\xe9', 'SQL_ASCII'); END $x$ $q$);
SELECT 'usable', sessmgr.scalar('loopback:regress_sm_ascii', 'SELECT 1');
SELECT sessmgr.reset();

-- LATIN1 here
\c regress_sm_latin1
SET client_encoding = 'UTF8';
CREATE EXTENSION sessmgr;
SELECT sessmgr.scalar('loopback:' || :'db', 'SELECT octet_length($1)', 'grüße'::text), sessmgr.scalar('loopback:' || :'db', 'SELECT $1', 'grüße'), octet_length(sessmgr.scalar('loopback:' || :'db', 'SELECT ''grüße'''));
SELECT sessmgr.query_json('loopback:' || :'db', 'SELECT 1 AS "größe", ''ß'' AS s');
\set VERBOSITY terse
SELECT sessmgr.scalar('loopback:' || :'db', 'SELECT chr(26085)');
\echo :SQLSTATE
SELECT * FROM sessmgr.query('loopback:' || :'db', 'SELECT chr(26085)') AS t(a text);
\echo :SQLSTATE
SELECT sessmgr.execute('loopback:' || :'db', 'DO $x$ BEGIN RAISE EXCEPTION ''%'', chr(26085); END $x$');
SELECT sessmgr.scalar('loopback:' || :'db', 'SELECT 1'), sessmgr.scalar('spi:', 'SELECT octet_length($1)', 'grüße'::text);
SELECT sessmgr.reset();

-- SQL_ASCII here: bytes as they are
\c regress_sm_ascii
SET client_encoding = 'SQL_ASCII';
CREATE EXTENSION sessmgr;
\set VERBOSITY terse
SELECT sessmgr.scalar('loopback:' || :'db', 'SELECT octet_length($1)', 'grüße'::text), sessmgr.scalar('loopback:' || :'db', 'SELECT $1', 'grüße');
SELECT sessmgr.scalar('loopback:' || :'db', 'SELECT $1', convert_from('\xe9', 'SQL_ASCII'));
\echo :SQLSTATE
SELECT sessmgr.scalar('loopback:' || :'db', 'SELECT 1');
SELECT sessmgr.reset();
\c :db
DROP DATABASE regress_sm_latin1;
DROP DATABASE regress_sm_eucjp;
DROP DATABASE regress_sm_ascii;
