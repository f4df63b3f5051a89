-- PL/Proxy's part of bench/run
CREATE EXTENSION plproxy;

CREATE SERVER one_proxy FOREIGN DATA WRAPPER plproxy OPTIONS (p0 :'remote');
CREATE USER MAPPING FOR CURRENT_USER SERVER one_proxy OPTIONS (user 'postgres');

-- Partitions are different connections only if their strings differ.
SELECT format('CREATE SERVER all_proxies FOREIGN DATA WRAPPER plproxy OPTIONS (%s)',
              string_agg(format('p%s %L', i, :'remote' || ' application_name=proxy' || i), ', '))
    FROM generate_series(0, :targets - 1) i \gexec
CREATE USER MAPPING FOR CURRENT_USER SERVER all_proxies OPTIONS (user 'postgres');

-- In its text, the name of an argument is the argument.
CREATE FUNCTION by_key_plproxy(wanted integer) RETURNS text LANGUAGE plproxy AS $$
    CLUSTER 'one_proxy'; RUN ON 0; SELECT v FROM kv WHERE k = wanted; $$;
CREATE FUNCTION numbers_plproxy(n bigint, OUT i integer, OUT f float8, OUT t text, OUT ts timestamptz)
    RETURNS SETOF record LANGUAGE plproxy AS $$
    CLUSTER 'one_proxy'; RUN ON 0; SELECT i, f, t, ts FROM numbers LIMIT n; $$;
CREATE FUNCTION source_plproxy(n bigint, OUT i integer, OUT v text)
    RETURNS SETOF record LANGUAGE plproxy AS $$
    CLUSTER 'one_proxy'; RUN ON 0; SELECT i, v FROM source LIMIT n; $$;
CREATE FUNCTION insert_plproxy(i integer, v text) RETURNS integer LANGUAGE plproxy AS $$
    CLUSTER 'one_proxy'; RUN ON 0; $$;
CREATE FUNCTION nap_plproxy() RETURNS SETOF integer LANGUAGE plproxy AS $$
    CLUSTER 'all_proxies'; RUN ON ALL; SELECT x FROM nap; $$;

CALL make_loop('plproxy', 'x := by_key_plproxy(i)');
CALL make_loop('insert_plproxy', $$x := insert_plproxy(i, 'some text of no great length')$$, at_end => '');
