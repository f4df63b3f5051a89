-- what bench/one-row runs; @remote@ and @host@ are filled in by it
CREATE EXTENSION sessmgr;
CREATE EXTENSION dblink;
CREATE SERVER remote FOREIGN DATA WRAPPER sessmgr
    OPTIONS (host '@host@', port '5432', dbname 'postgres');
CREATE USER MAPPING FOR CURRENT_USER SERVER remote OPTIONS (user 'postgres');

SELECT sessmgr.execute('remote', 'CREATE TABLE kv (k integer PRIMARY KEY, v text)');
SELECT sessmgr.execute('remote', 'INSERT INTO kv SELECT i, md5(i::text) FROM generate_series(1, 20000) i');
SELECT sessmgr.execute('remote', 'VACUUM ANALYZE kv');

CREATE FUNCTION bench_scalar(n integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE x text;
BEGIN
    FOR i IN 1..n LOOP
        x := sessmgr.scalar('remote', 'SELECT v FROM kv WHERE k = $1', i);
    END LOOP;
END $$;

CREATE FUNCTION bench_scalar_as(n integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE x text;
BEGIN
    FOR i IN 1..n LOOP
        x := sessmgr.scalar_as(NULL::text, 'remote', 'SELECT v FROM kv WHERE k = $1', i);
    END LOOP;
END $$;

CREATE FUNCTION bench_session(n integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE x text; s sessmgr.session := sessmgr.session_factory('remote');
BEGIN
    FOR i IN 1..n LOOP
        x := sessmgr.scalar(s, 'SELECT v FROM kv WHERE k = $1', i);
    END LOOP;
    PERFORM sessmgr.close(s);
END $$;

CREATE FUNCTION bench_dblink(n integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE x text;
BEGIN
    PERFORM dblink_connect('c', '@remote@');
    FOR i IN 1..n LOOP
        SELECT v INTO x FROM dblink('c', 'SELECT v FROM kv WHERE k = ' || i) AS t(v text);
    END LOOP;
    PERFORM dblink_disconnect('c');
END $$;
