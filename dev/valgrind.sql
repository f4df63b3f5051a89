--
-- What dev/valgrind runs after the tests that it borrows: the ways out of a
-- statement that are left early.  Errors are wanted; nothing is compared.
--
CREATE SCHEMA vg;
SELECT sessmgr.reset();

-- canceled, timed out, terminated
SET statement_timeout = '1500ms';
SELECT sessmgr.scalar('loop', 'SELECT pg_sleep(60)');
SELECT count(*) FROM sessmgr.query('loop', $$SELECT repeat('x', 10000) FROM generate_series(1, 1000000)$$) AS t(a text);
RESET statement_timeout;
SELECT sessmgr.get_engine('loop', '{"statement_timeout": "1s"}');
SELECT sessmgr.invalidate('loop'), sessmgr.get_engine('loop', '{"statement_timeout": "1s", "cleanup_timeout": "5s"}');
SELECT sessmgr.scalar('loop', 'SELECT pg_sleep(60)');
SELECT sessmgr.execute('loop', 'DO $_$ BEGIN BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN PERFORM pg_sleep(60); END; END $_$');
SELECT sessmgr.invalidate('loop');
SELECT sessmgr.session_factory('loop', '{"hold": true}') AS s \gset
SELECT sessmgr.execute(:'s'::sessmgr.session, 'CREATE TABLE vg.t (a int)');
SELECT pg_terminate_backend(remote_pid, 20000) FROM sessmgr.sessions;
SELECT sessmgr.execute(:'s'::sessmgr.session, 'SELECT 1');
SELECT sessmgr.rollback(:'s'), sessmgr.close(:'s');
SELECT sessmgr.execute('loop', 'SELECT pg_terminate_backend(pg_backend_pid())');
SELECT count(*) FROM sessmgr.query('loop', $$SELECT CASE i WHEN 5000 THEN pg_terminate_backend(pg_backend_pid())::text END FROM generate_series(1, 10000) i$$) AS t(a text);

-- a value that cannot be read, far down in the result; rows that are not wanted
SELECT count(*) FROM sessmgr.query('loop', $$SELECT CASE i WHEN 9000 THEN 'x' ELSE i::text END FROM generate_series(1, 10000) i$$) AS t(a int);
SELECT count(*) FROM sessmgr.query('loop', $$SELECT 1 / (i - 9000) FROM generate_series(1, 10000) i$$) AS t(a int);
SELECT * FROM sessmgr.query('loop', 'SELECT i, i FROM generate_series(1, 10000) i') AS t(a int);
SELECT * FROM sessmgr.query('loop', 'SELECT i FROM generate_series(1, 10000) i') AS t(a int) LIMIT 1;
SELECT sessmgr.scalar('loop', 'SELECT i FROM generate_series(1, 10000) i');
SELECT * FROM sessmgr.query_json('loop', $$SELECT i, 'x' AS t, NULL AS n, ARRAY[i] AS a FROM generate_series(1, 100) i$$) LIMIT 1;

-- COPY, and other statements that are not for here
CREATE TABLE vg.copied (a int);
SELECT sessmgr.execute('loop', 'COPY vg.copied FROM STDIN');
SELECT sessmgr.execute('loop', 'COPY (SELECT generate_series(1, 100000)) TO STDOUT');
SELECT * FROM sessmgr.query('loop', 'COPY (SELECT generate_series(1, 100000)) TO STDOUT') AS t(a int);
SELECT sessmgr.session_factory('loop', '{"hold": true}') AS s \gset
SELECT sessmgr.execute(:'s'::sessmgr.session, 'COPY vg.copied FROM STDIN');
SELECT sessmgr.execute(:'s'::sessmgr.session, 'SELECT 1'), sessmgr.rollback(:'s');
SELECT sessmgr.execute(:'s'::sessmgr.session, 'COMMIT');
SELECT sessmgr.execute('loop', ''), sessmgr.execute('loop', ';');
SELECT sessmgr.execute('loop', 'SELECT 1; SELECT 2');
SELECT sessmgr.execute('loop', 'DISCARD ALL');

-- connections that fail
SELECT count(*) FROM generate_series(1, 3) i, LATERAL (SELECT try(format('SELECT sessmgr.execute(%L, %L)', uri, 'SELECT 1'))
	FROM (VALUES ('postgresql://postgres@/regression?host=/nowhere'), ('postgresql://postgres@127.0.0.1:1/regression'),
		('postgresql://postgres@nowhere.invalid/regression'), ('postgresql://postgres@/none?host=' || sockdir() || '&port=5432'),
		('postgresql://[::1/x'), ('postgresql://a:b@c:d@e/f?g'), ('loop_unknown'), ('')) v(uri) OFFSET 0) x;
SELECT try($$SELECT sessmgr.execute('postgresql://postgres@/none?host=$$ || sockdir() || $$', 'SELECT 1')$$);
SELECT try($$SELECT sessmgr.execute('postgresql://postgres@127.0.0.1:1/none', 'SELECT 1')$$);
SELECT try($$SELECT sessmgr.execute('postgresql://postgres@nowhere.invalid/none', 'SELECT 1')$$);
SELECT try($$SELECT sessmgr.execute('postgresql://postgres@10.255.255.1/none?connect_timeout=2', 'SELECT 1')$$);
SELECT try($$SELECT sessmgr.create_session('postgresql://a:b@c:d@e/f?g=h')$$);
CREATE ROLE vg_password LOGIN PASSWORD 'right';
GRANT USAGE ON FOREIGN SERVER loop TO vg_password;
GRANT USAGE ON SCHEMA sessmgr TO vg_password;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA sessmgr TO vg_password;
SET ROLE vg_password;
SELECT sessmgr.execute('loop', 'SELECT 1');
RESET ROLE;
CREATE USER MAPPING FOR vg_password SERVER loop OPTIONS (user 'vg_password');
SET ROLE vg_password;
SELECT sessmgr.execute('loop', 'SELECT 1');
RESET ROLE;
ALTER USER MAPPING FOR vg_password SERVER loop OPTIONS (ADD password 'wrong');
SET ROLE vg_password;
SELECT sessmgr.execute('loop', 'SELECT 1');
SELECT sessmgr.execute('loop', 'SELECT 1');
RESET ROLE;
ALTER USER MAPPING FOR vg_password SERVER loop OPTIONS (SET password 'right');
SET ROLE vg_password;
SELECT sessmgr.execute('loop', 'SELECT 1');
RESET ROLE;

-- a session used, closed or forgotten while one of its results is being read
CREATE TABLE vg.what (sql text);
INSERT INTO vg.what VALUES (NULL);
CREATE FUNCTION vg.act(v int) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	q text := (SELECT sql FROM vg.what);
BEGIN
	IF v = 50 AND q IS NOT NULL THEN EXECUTE q; END IF;
	RETURN true;
END $$;
CREATE FUNCTION vg.act_quietly(v int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	RETURN vg.act(v);
EXCEPTION WHEN OTHERS THEN RETURN true;
END $$;
CREATE DOMAIN vg.acting AS int CHECK (vg.act(VALUE));
CREATE DOMAIN vg.quiet AS int CHECK (vg.act_quietly(VALUE));
CREATE PROCEDURE vg.nested(dom text, target text) LANGUAGE plpgsql AS $$
DECLARE
	action text;
	s sessmgr.session;
	expression text;
BEGIN
	FOREACH action IN ARRAY ARRAY['SELECT sessmgr.close(%1$L::sessmgr.session)', 'SELECT sessmgr.reset()', 'SELECT sessmgr.rollback(%1$L)',
			'SELECT sessmgr.commit(%1$L)', 'SELECT sessmgr.begin_nested(%1$L)', 'SELECT sessmgr.execute(%1$L::sessmgr.session, ''SELECT 1'')',
			'SELECT sessmgr.execute(''loop'', ''SELECT 1/0'')', 'SELECT sessmgr.scalar(''loop'', ''SELECT count(*) FROM kv'')',
			'SELECT sessmgr.invalidate(''loop'')', 'DROP SERVER loop CASCADE', 'SELECT sessmgr.dispose(sessmgr.get_engine(''loop''))',
			'ALTER SERVER loop OPTIONS (ADD pool_size ''3'')', 'DISCARD PLANS', 'SELECT pg_terminate_backend(remote_pid, 20000) FROM sessmgr.connections WHERE remote_pid IS NOT NULL',
			'SELECT set_config(''statement_timeout'', ''1ms'', true)', 'SELECT 1 / 0'] LOOP
		FOR i IN 1..2 LOOP
			BEGIN
				s := sessmgr.session_factory('loop');
				UPDATE vg.what SET sql = format(action, s);
				expression := CASE target WHEN 'session' THEN format('%L::sessmgr.session', s) ELSE quote_literal(target) END;
				EXECUTE format('SELECT count(t) FROM sessmgr.query_as(NULL::vg.%I, %s, %L) t', dom, expression, 'SELECT * FROM generate_series(1, 200)');
				RAISE NOTICE '% went well', action;
				IF i = 2 THEN RAISE EXCEPTION 'undo'; END IF;
			EXCEPTION WHEN OTHERS THEN
				RAISE NOTICE '%: %', action, SQLERRM;
			END;
		END LOOP;
		UPDATE vg.what SET sql = NULL;
		IF NOT EXISTS (SELECT FROM pg_foreign_server WHERE srvname = 'loop') THEN
			CREATE SERVER loop FOREIGN DATA WRAPPER sessmgr OPTIONS (loopback 'true', dbname 'regression');
			CREATE USER MAPPING FOR CURRENT_USER SERVER loop OPTIONS (user 'postgres');
		END IF;
	END LOOP;
END $$;
CALL vg.nested('acting', 'session');
CALL vg.nested('quiet', 'session');
CALL vg.nested('acting', 'loop');
CALL vg.nested('quiet', 'loop');

-- engines made and forgotten; connections, too, but fewer
SELECT sessmgr.reset();
DO $$ BEGIN FOR i IN 1..1000 LOOP PERFORM sessmgr.get_engine('loop', format('{"pool_size": %s}', i)::jsonb), sessmgr.invalidate('loop'); END LOOP; END $$;
DO $$ BEGIN FOR i IN 1..10 LOOP PERFORM sessmgr.execute('loop', 'SELECT 1'), sessmgr.invalidate('loop'); END LOOP; END $$;
DO $$ BEGIN FOR i IN 1..150 LOOP PERFORM sessmgr.scalar('loop', 'SELECT $1 + ' || i % 120, i); END LOOP; END $$;

-- notices, many and long, with an error and without
SELECT sessmgr.execute('loop', $x$DO $_$ BEGIN FOR i IN 1..300 LOOP RAISE NOTICE '% %', i, repeat('ä', i * 20) USING DETAIL = 'd', HINT = 'h'; END LOOP; END $_$$x$);
SELECT sessmgr.execute('loop', $x$DO $_$ BEGIN FOR i IN 1..300 LOOP RAISE WARNING '%', i; END LOOP; RAISE EXCEPTION '%', repeat('ä', 9000); END $_$$x$);
SELECT sessmgr.execute('loop', 'LISTEN vg'), sessmgr.execute('loop', 'NOTIFY vg, ''x''');
SET sessmgr.echo = on;
SELECT sessmgr.execute('loop', 'SELECT $1, $2, $3', repeat('ä', 300), NULL::text, 1);
RESET sessmgr.echo;

-- the end of a backend with much that is open
SELECT sessmgr.session_factory('loop', '{"hold": true}') AS s1, sessmgr.session_factory('loop', '{"hold": true}') AS s2 \gset
SELECT sessmgr.execute(:'s1'::sessmgr.session, 'SELECT 1'), sessmgr.begin(:'s2'), sessmgr.begin_nested(:'s2');
\c
SELECT sessmgr.execute('loop', format('SELECT pg_cancel_backend(%s)', pg_backend_pid()));
SELECT sessmgr.session_factory('loop', '{"hold": true}') AS s1 \gset
SELECT sessmgr.execute(:'s1'::sessmgr.session, 'CREATE TABLE vg.never (a int)');
SELECT sessmgr.scalar('loop', format('SELECT pg_sleep(60) FROM pg_terminate_backend(%s)', pg_backend_pid()));
