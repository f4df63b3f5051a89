--
-- Models: the registry, and what prepare_models() makes of it on a target.
--
-- The target is another database of this cluster.  What is made there is
-- compared with the original by a function that both have, shape().
--
SELECT current_user AS me \gset

SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_sm_models;
CREATE DATABASE regress_sm_models TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
RESET client_min_messages;

CREATE SERVER mtarget FOREIGN DATA WRAPPER sessmgr
    OPTIONS (loopback 'true', dbname 'regress_sm_models');
CREATE USER MAPPING FOR CURRENT_USER SERVER mtarget OPTIONS (user :'me');

CREATE FUNCTION prep(metadata name DEFAULT 'default', target text DEFAULT 'mtarget')
    RETURNS text LANGUAGE sql
    AS $$ SELECT try(format('SELECT sessmgr.prepare_models(sessmgr.get_engine(%L), %L)',
                            target, metadata)) $$;
CREATE FUNCTION prepared(metadata name DEFAULT 'default', target text DEFAULT 'mtarget')
    RETURNS boolean LANGUAGE sql
    AS $$ SELECT sessmgr.prepared(sessmgr.get_engine(target), metadata) $$;
CREATE FUNCTION there(sql text) RETURNS SETOF text LANGUAGE sql
    AS $$ SELECT sessmgr.query_as(NULL::text, 'mtarget', sql) $$;

--
-- The registry
--
CREATE SCHEMA reg;
CREATE TABLE reg.t (a int);
CREATE INDEX t_a ON reg.t (a);
CREATE SEQUENCE reg.s;
COMMENT ON TABLE reg.t IS 'a table';
CREATE VIEW reg.v AS SELECT 1 AS a;
CREATE MATERIALIZED VIEW reg.mv AS SELECT 1 AS a;
CREATE TYPE reg.c AS (a int);
CREATE TABLE reg.parted (a int) PARTITION BY RANGE (a);
CREATE TABLE reg.ident (a int GENERATED ALWAYS AS IDENTITY);
CREATE FOREIGN DATA WRAPPER regress_sm_dummy;
CREATE SERVER dummy FOREIGN DATA WRAPPER regress_sm_dummy;
CREATE FOREIGN TABLE reg.ft (a int) SERVER dummy;
CREATE TEMPORARY TABLE temporary (a int);

SELECT sessmgr.add_model('reg.t');
SELECT sessmgr.add_model('reg.t');
SELECT sessmgr.add_model('reg.t', 'other'), sessmgr.add_model(metadata => 'other', relation => 'reg.s');
SELECT relation, metadata, owner = current_user AS mine, kind, description FROM sessmgr.models;

SELECT arg, try(format('SELECT sessmgr.add_model(%s)', arg))
  FROM unnest(ARRAY['NULL', '''reg.t'', NULL', '''reg.t'', ''''', '4294967294', '''reg.v''', '''reg.mv''',
                    '''reg.c''', '''reg.t_a''', '''reg.parted''', '''reg.ft''', '''reg.ident_a_seq''',
                    '''pg_class''', '''information_schema.sql_features''']) AS arg;
SELECT left(try('SELECT sessmgr.add_model(''temporary'')'), 5);
SELECT try('SELECT sessmgr.drop_model(NULL)'), try('SELECT sessmgr.drop_model(4294967294)');
SELECT try('SELECT sessmgr.models_dropped()');
BEGIN READ ONLY;
SELECT try('SELECT sessmgr.add_model(''reg.ident'')');
ROLLBACK;

SELECT sessmgr.drop_model('reg.t');
SELECT sessmgr.drop_model('reg.t');
SELECT relation, metadata FROM sessmgr.models;
SELECT sessmgr.drop_model(relation => 'reg.s');

-- who may
GRANT CREATE ON SCHEMA reg TO regress_sm_user, regress_sm_other;
GRANT USAGE ON SCHEMA reg TO regress_sm_user, regress_sm_other, regress_sm_none;
SET ROLE regress_sm_none;
SELECT try('SELECT sessmgr.add_model(''reg.t'')');
RESET ROLE;
SET ROLE regress_sm_user;
SELECT try('SELECT sessmgr.add_model(''reg.t'')'), try('SELECT sessmgr.drop_model(''reg.t'')');
SELECT try('TABLE sessmgr.model_registry'),
       try('INSERT INTO sessmgr.model_registry VALUES (''reg.t'', ''default'')'),
       try('DELETE FROM sessmgr.model_registry');
CREATE TABLE reg.mine (a int);
SELECT sessmgr.add_model('reg.mine');
SELECT relation, metadata, owner FROM sessmgr.models;
SET ROLE regress_sm_other;
SELECT try('SELECT sessmgr.drop_model(''reg.mine'')');
SELECT count(*) FROM sessmgr.models;
RESET ROLE;
SELECT relation, metadata, owner FROM sessmgr.models;

-- whoever drops a table takes it out
SET ROLE regress_sm_user;
BEGIN;
DROP TABLE reg.mine;
SELECT count(*) FROM sessmgr.models;
ROLLBACK;
SELECT count(*) FROM sessmgr.models;
DROP TABLE reg.mine;
SELECT count(*) FROM sessmgr.models;
CREATE TABLE reg.mine (a int, b serial);
SELECT sessmgr.add_model('reg.mine'), sessmgr.add_model('reg.mine_b_seq');
ALTER TABLE reg.mine RENAME TO renamed;
SELECT relation, kind FROM sessmgr.models;
RESET ROLE;
SET client_min_messages = warning;
SELECT sessmgr.add_model('reg.t'), sessmgr.add_model('reg.s', 'x');
BEGIN;
DROP OWNED BY regress_sm_user CASCADE;
SELECT relation FROM sessmgr.models;
ROLLBACK;
BEGIN;
DROP EXTENSION sessmgr CASCADE;
ROLLBACK;
DROP SCHEMA reg CASCADE;
RESET client_min_messages;
SELECT count(*) FROM sessmgr.models;

--
-- What is made is what was here
--
CREATE FUNCTION shape(schemas name[]) RETURNS TABLE (kind text, shape text)
    LANGUAGE sql STABLE SET search_path = pg_catalog SET datestyle = 'ISO'
    SET intervalstyle = postgres SET timezone = 'UTC' AS $$
    WITH c AS (
        SELECT c.*, c.oid::regclass::text AS rel
          FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
         WHERE nspname = ANY (schemas)
    )
    SELECT 'table', concat_ws(' | ', rel, relpersistence, reloptions, relreplident, relchecks,
               (SELECT reloptions FROM pg_class t WHERE t.oid = c.reltoastrelid),
               obj_description(oid, 'pg_class'))
      FROM c WHERE relkind = 'r'
    UNION ALL
    SELECT 'column', concat_ws(' | ', rel, row_number() OVER (PARTITION BY c.oid ORDER BY attnum),
               attname, format_type(atttypid, atttypmod), nullif(attcollation, 0)::regcollation,
               attnotnull, attidentity, attgenerated, attstorage, attcompression,
               nullif(attstattarget, -1),
               pg_get_serial_sequence(rel, attname),
               -- a server may keep notes of its own there
               (SELECT array_agg(o) FROM unnest(attoptions) o WHERE o !~ '^pg_'),
               pg_get_expr(adbin, adrelid), col_description(c.oid, attnum))
      FROM c JOIN pg_attribute a ON attrelid = c.oid
           LEFT JOIN pg_attrdef d ON adrelid = c.oid AND adnum = attnum
     WHERE relkind = 'r' AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT CASE contype WHEN 'n' THEN 'not null' ELSE 'constraint' END,
           concat_ws(' | ', rel, conname, convalidated, connoinherit, condeferrable, condeferred,
               pg_get_constraintdef(k.oid), obj_description(k.oid, 'pg_constraint'))
      FROM c JOIN pg_constraint k ON conrelid = c.oid
    UNION ALL
    SELECT 'index', concat_ws(' | ', pg_get_indexdef(c.oid), reloptions, indisclustered,
               indisreplident, indisprimary, indisexclusion, indimmediate,
               (SELECT array_agg(nullif(attstattarget, -1) ORDER BY attnum) FROM pg_attribute WHERE attrelid = c.oid),
               obj_description(c.oid, 'pg_class'))
      FROM c JOIN pg_index ON indexrelid = c.oid
    UNION ALL
    SELECT 'sequence', concat_ws(' | ', rel, relpersistence, seqtypid::regtype, seqstart,
               seqincrement, seqmax, seqmin, seqcache, seqcycle,
               (SELECT deptype::text || refobjid::regclass::text || refobjsubid FROM pg_depend
                 WHERE classid = 'pg_class'::regclass AND objid = c.oid AND refobjsubid > 0),
               obj_description(c.oid, 'pg_class'))
      FROM c JOIN pg_sequence ON seqrelid = c.oid
    UNION ALL
    SELECT 'statistics', concat_ws(' | ', pg_get_statisticsobjdef(s.oid), nullif(stxstattarget, -1),
               obj_description(s.oid, 'pg_statistic_ext'))
      FROM pg_statistic_ext s JOIN c ON c.oid = stxrelid
$$;
CREATE FUNCTION differences(schemas name[]) RETURNS TABLE (side text, kind text, shape text)
    LANGUAGE sql AS $$
    WITH here AS (SELECT * FROM shape(schemas)),
         there AS MATERIALIZED (
        SELECT * FROM sessmgr.query('mtarget', 'SELECT * FROM shape($1)', schemas)
            AS q (kind text, shape text))
    SELECT 'here', h.* FROM (TABLE here EXCEPT ALL TABLE there) AS h
    UNION ALL
    SELECT 'there', t.* FROM (TABLE there EXCEPT ALL TABLE here) AS t
    ORDER BY 1, 2, 3
$$;
CREATE FUNCTION twice(sql text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE sql;
    PERFORM sessmgr.execute('mtarget', sql);
END $$;
SELECT sessmgr.execute('mtarget', pg_get_functiondef('shape'::regproc));

-- what a target must have: types, functions and the like are no models
SELECT twice('CREATE SCHEMA tools'),
       twice('CREATE TYPE tools.mood AS ENUM (''fine'', E''it''''s \\ bad'')'),
       twice('CREATE DOMAIN tools.positive AS int CHECK (value > 0)'),
       twice('CREATE TYPE tools.pair AS (a int, b text)'),
       twice('CREATE FUNCTION tools.up(text) RETURNS text LANGUAGE sql IMMUTABLE RETURN upper($1)'),
       twice('CREATE COLLATION tools.coll FROM "C"');

CREATE SCHEMA m;
CREATE SCHEMA "Odd ""Schema";
CREATE SEQUENCE m.free AS smallint INCREMENT -3 MINVALUE -100 MAXVALUE -1 START -4 CACHE 7 CYCLE;
COMMENT ON SEQUENCE m.free IS 'counts ''down'' \ and "up"';
CREATE UNLOGGED SEQUENCE m.unlogged;
CREATE TABLE m.plain (
    id serial PRIMARY KEY,
    big bigserial NOT NULL UNIQUE,
    small smallserial,
    n int DEFAULT nextval('m.free'),
    gone int,
    a varchar(17) COLLATE "C" NOT NULL DEFAULT 'it''s \ "x"',
    b numeric(10, 3) DEFAULT 1.5,
    c character(3) DEFAULT 'abc',
    c1 "char" DEFAULT 'x',
    ts timestamptz(3) DEFAULT '2024-02-03 04:05:06.789+01',
    d date DEFAULT '2024-02-03',
    i interval day to second(2) DEFAULT '1 day -00:00:01.5',
    i2 interval DEFAULT '-1 mon +2 days',
    f float8 DEFAULT 0.1::float8 + 1e-17,
    f4 real DEFAULT 0.3,
    bin bytea DEFAULT '\xdeadbeef',
    cash money DEFAULT '1234.50',
    bits bit varying(5) DEFAULT B'101',
    arr int[] DEFAULT '{1,2}',
    arr2 text[][] DEFAULT ARRAY['a', 'b''c'],
    mood tools.mood DEFAULT E'it''s \\ bad',
    moods tools.mood[],
    p tools.positive DEFAULT 3,
    pair tools.pair DEFAULT '(1,"x y")',
    j jsonb DEFAULT '{"a": [1, 2]}',
    r int4range DEFAULT '[1,5)',
    up text COLLATE tools.coll DEFAULT tools.up('x'),
    "weird "" Name" text DEFAULT E'\\line\nbreak\ttab',
    cond bool DEFAULT ((NOT true OR 1 IN (1, 2)) IS TRUE),
    pglz text COMPRESSION pglz,
    ext text,
    main text,
    stat int,
    nd int
);
ALTER TABLE m.plain DROP COLUMN gone;
ALTER TABLE m.plain ALTER ext SET STORAGE EXTERNAL, ALTER main SET STORAGE MAIN,
    ALTER stat SET STATISTICS 321, ALTER nd SET (n_distinct = -0.25, n_distinct_inherited = 7);
COMMENT ON TABLE m.plain IS 'a ''table'' \ yes';
COMMENT ON COLUMN m.plain."weird "" Name" IS E'col\ncomment';
COMMENT ON CONSTRAINT plain_pkey ON m.plain IS 'the key';
COMMENT ON INDEX m.plain_pkey IS 'the index of the key';
COMMENT ON SEQUENCE m.plain_id_seq IS 'serial';

CREATE TABLE "Odd ""Schema"."Ident Table" (
    a int GENERATED ALWAYS AS IDENTITY
        (START 10 INCREMENT 5 MINVALUE 5 MAXVALUE 1000 CACHE 3 CYCLE) PRIMARY KEY,
    b smallint GENERATED BY DEFAULT AS IDENTITY (SEQUENCE NAME "Odd ""Schema"."select"),
    c int NOT NULL,
    d text NOT NULL,
    g int GENERATED ALWAYS AS (c * 2 + 1) STORED,
    g2 text GENERATED ALWAYS AS (tools.up(d)) STORED NOT NULL,
    CONSTRAINT "chk ""1" CHECK (c > 0 AND d <> ''),
    CHECK (d ~ '^\w+$') NO INHERIT,
    CONSTRAINT uq UNIQUE NULLS NOT DISTINCT (c, d) INCLUDE (b) WITH (fillfactor = 77)
        DEFERRABLE INITIALLY DEFERRED
) WITH (fillfactor = 60, autovacuum_enabled = false, toast.autovacuum_enabled = false,
        autovacuum_vacuum_scale_factor = 0.33, parallel_workers = 3);
ALTER TABLE "Odd ""Schema"."Ident Table" ADD CONSTRAINT later CHECK (b > 5) NOT VALID;
COMMENT ON CONSTRAINT "chk ""1" ON "Odd ""Schema"."Ident Table" IS 'checks';
COMMENT ON SEQUENCE "Odd ""Schema"."Ident Table_a_seq" IS 'identity';

CREATE UNLOGGED TABLE m.ul (id int GENERATED BY DEFAULT AS IDENTITY, s serial, t text);
ALTER SEQUENCE m.ul_id_seq SET LOGGED;

CREATE TABLE m.child (
    id int PRIMARY KEY WITH (fillfactor = 42),
    parent int REFERENCES m.plain (id) ON DELETE CASCADE ON UPDATE SET NULL
        DEFERRABLE INITIALLY DEFERRED,
    big bigint REFERENCES m.plain (big) MATCH FULL ON DELETE SET DEFAULT,
    self int REFERENCES m.child,
    room int4range,
    r tstzrange,
    t text,
    t2 text,
    EXCLUDE USING gist (room WITH =, r WITH &&) WITH (fillfactor = 66)
        WHERE (upper(room) > 3) DEFERRABLE
);
ALTER TABLE m.child ADD CONSTRAINT notyet FOREIGN KEY (self) REFERENCES m.plain NOT VALID;
CREATE INDEX ON m.child (t);
CREATE INDEX child_expr ON m.child (tools.up(t), (coalesce(t2, '')) DESC NULLS LAST)
    INCLUDE (id) WITH (fillfactor = 55) WHERE t IS NOT NULL;
CREATE UNIQUE INDEX child_u ON m.child USING btree (t text_pattern_ops, t2 COLLATE "C")
    NULLS NOT DISTINCT;
CREATE INDEX child_gin ON m.child USING gin (to_tsvector('english', t)) WITH (fastupdate = off);
CREATE INDEX child_brin ON m.child USING brin
    (id int4_minmax_multi_ops (values_per_range = 16)) WITH (pages_per_range = 9);
CREATE INDEX child_hash ON m.child USING hash (t);
ALTER INDEX m.child_expr ALTER COLUMN 1 SET STATISTICS 222;
ALTER TABLE m.child CLUSTER ON child_u;
COMMENT ON INDEX m.child_expr IS 'an index';
COMMENT ON CONSTRAINT child_parent_fkey ON m.child IS 'a foreign key';
CREATE STATISTICS m.st (dependencies, ndistinct, mcv) ON t, t2, (tools.up(t)) FROM m.child;
ALTER STATISTICS m.st SET STATISTICS 44;
COMMENT ON STATISTICS m.st IS 'statistics';

CREATE TABLE m.rep_index (a int NOT NULL, b int NOT NULL);
CREATE UNIQUE INDEX rep_i ON m.rep_index (a, b);
ALTER TABLE m.rep_index REPLICA IDENTITY USING INDEX rep_i;
CREATE TABLE m.rep_full (a int);
ALTER TABLE m.rep_full REPLICA IDENTITY FULL;
CREATE TABLE m.rep_nothing (a int);
ALTER TABLE m.rep_nothing REPLICA IDENTITY NOTHING;
CREATE TABLE m.nothing ();
-- made later here than it is needed there
CREATE TABLE m.uses_row (id int);
CREATE TABLE m.row (x int, y text);
ALTER TABLE m.uses_row ADD one m.row, ADD many m.row[];
CREATE TABLE m.circle1 (id int PRIMARY KEY, o int);
CREATE TABLE m.circle2 (id int PRIMARY KEY, o int REFERENCES m.circle1);
ALTER TABLE m.circle1 ADD FOREIGN KEY (o) REFERENCES m.circle2;
-- a sequence of one table, used by another one
CREATE TABLE m.has_seq (q int);
CREATE SEQUENCE m.shared OWNED BY m.has_seq.q;
CREATE TABLE m.uses_seq (v bigint DEFAULT nextval('m.shared'));
CREATE TABLE m."select" ("table" int PRIMARY KEY, "Column" text);

SELECT count(sessmgr.add_model(c.oid)::text) AS tables
  FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
 WHERE relkind = 'r' AND nspname IN ('m', 'Odd "Schema');
SELECT sessmgr.add_model('m.unlogged');

-- under settings that would spoil constants
SET datestyle = 'SQL, DMY';
SET intervalstyle = sql_standard;
SET extra_float_digits = -5;
SET quote_all_identifiers = on;
SET search_path = m, tools, public;
SELECT prepared(), prep(), prepared();
SELECT public.prep(), current_setting('search_path');
RESET datestyle;
RESET intervalstyle;
RESET extra_float_digits;
RESET quote_all_identifiers;
RESET search_path;

SELECT kind, count(*) FROM shape('{m,"Odd \"Schema"}') WHERE kind <> 'not null'
 GROUP BY kind ORDER BY kind;
SELECT * FROM differences('{m,"Odd \"Schema"}');
SELECT there('INSERT INTO m.plain (big, a) VALUES (1, 2) RETURNING concat_ws('','', id, n, ts AT TIME ZONE ''UTC'', d, cash::numeric, mood)');

-- what only newer servers have
CREATE SCHEMA m18;
DO $$
BEGIN
    IF current_setting('server_version_num')::int < 180000 THEN
        RETURN;
    END IF;
    EXECUTE $sql$
        CREATE TABLE m18.one (
            a int CONSTRAINT named NOT NULL NO INHERIT,
            b int,
            v int GENERATED ALWAYS AS (a * 2) VIRTUAL,
            v2 text GENERATED ALWAYS AS ('x' || a) VIRTUAL CONSTRAINT vnn NOT NULL,
            c int,
            p int PRIMARY KEY,
            r daterange,
            k int4range,
            CONSTRAINT mild CHECK (c > 0) NOT ENFORCED,
            CONSTRAINT wo UNIQUE (k, r WITHOUT OVERLAPS)
        );
        ALTER TABLE m18.one ADD CONSTRAINT later NOT NULL b NOT VALID;
        COMMENT ON CONSTRAINT named ON m18.one IS 'a name';
        CREATE TABLE m18.two (
            k int4range,
            r daterange,
            p int REFERENCES m18.one NOT ENFORCED,
            FOREIGN KEY (k, PERIOD r) REFERENCES m18.one (k, PERIOD r)
        );
    $sql$;
    PERFORM sessmgr.add_model('m18.one', 'm18'), sessmgr.add_model('m18.two', 'm18');
END $$;
-- before 18 there is nothing to prepare, which is told
SET client_min_messages = warning;
SELECT prep('m18')::int = (SELECT count(*) FROM sessmgr.models WHERE metadata = 'm18') AS all_made;
RESET client_min_messages;
SELECT * FROM differences('{m18}');

-- a change here changes nothing there
ALTER TABLE m.plain ADD later int;
DROP INDEX m.child_t_idx;
SELECT sessmgr.invalidate('mtarget');
SELECT prepared(), prep(), prepared();
SELECT * FROM differences('{m}');
-- but what is missing is made, and finds its sequence left alone
SELECT sessmgr.execute('mtarget', 'DROP TABLE m.uses_seq');
SELECT sessmgr.execute('mtarget', 'DROP SEQUENCE m.unlogged');
SELECT prep(), sessmgr.invalidate('mtarget'), prep();
SELECT * FROM differences('{m}');

--
-- Who remembers what
--
CREATE TABLE m.more (a int);
SELECT prepared(), prepared('nobody'), prep('nobody'), prepared('nobody');
SELECT try('SELECT prep(NULL)'), prep('');
SELECT try('SELECT sessmgr.prepared(sessmgr.get_engine(''mtarget''), NULL)');
BEGIN;
SELECT sessmgr.add_model('m.more');
SELECT prepared(), prepared('nobody');
SELECT prep(), prepared();
ROLLBACK;
SELECT prepared(), there('SELECT to_regclass(''m.more'')::text');
SELECT prep(), prepared();
SELECT sessmgr.add_model('m.more'), prepared(), prep(), prepared();
-- the news of the change comes back to who made it once more, and costs a look
SELECT prep();
SELECT sessmgr.add_model('m.more'), prepared();
SELECT sessmgr.drop_model('m.more'), prepared(), prep(), prepared();
DROP TABLE m.rep_full;
SELECT prepared(), prep(), prepared();
-- session_factory() prepares; spi: has nothing to make
SELECT sessmgr.execute('mtarget', 'DROP TABLE m.nothing');
SELECT sessmgr.invalidate('mtarget');
SELECT sessmgr.session_factory('mtarget') IS NOT NULL AS opened,
       there('SELECT to_regclass(''m.nothing'')::text');
SELECT prepared(), prepared(target => 'spi:'), prep(target => 'spi:'), prepared(target => 'spi:');

--
-- What cannot be reproduced, and says so before anything is sent
--
CREATE SCHEMA bad;
CREATE TABLE bad.fine (a int PRIMARY KEY);
CREATE TABLE bad.parted (a int) PARTITION BY RANGE (a);
CREATE TABLE bad.partition PARTITION OF bad.parted FOR VALUES FROM (0) TO (10);
CREATE TABLE bad.parent (a int);
CREATE TABLE bad.heir () INHERITS (bad.parent);
CREATE TABLE bad.typed OF tools.pair;
CREATE TABLE bad.rls (a int);
ALTER TABLE bad.rls ENABLE ROW LEVEL SECURITY;
CREATE TABLE bad.policy (a int);
CREATE POLICY p ON bad.policy;
CREATE TABLE bad.trigger (a int);
CREATE TRIGGER t BEFORE UPDATE ON bad.trigger FOR EACH ROW
    EXECUTE FUNCTION suppress_redundant_updates_trigger();
CREATE TABLE bad.rule (a int);
CREATE RULE r AS ON INSERT TO bad.rule DO NOTHING;
CREATE TABLE bad.norule (a int);
CREATE RULE r AS ON INSERT TO bad.norule DO NOTHING;
DROP RULE r ON bad.norule;
CREATE ACCESS METHOD regress_sm_heap TYPE TABLE HANDLER heap_tableam_handler;
CREATE TABLE bad.am (a int) USING regress_sm_heap;
SELECT count(sessmgr.add_model(oid, relname)::text), count(sessmgr.add_model('bad.fine', relname)::text)
  FROM pg_class WHERE relnamespace = 'bad'::regnamespace AND relkind = 'r';
SELECT relname, prep(relname), prepared(relname) FROM pg_class
 WHERE relnamespace = 'bad'::regnamespace AND relkind = 'r' AND relname <> 'fine' ORDER BY relname;
SELECT there('SELECT relname::text FROM pg_class WHERE relnamespace = ''bad''::regnamespace ORDER BY 1');
DROP ACCESS METHOD regress_sm_heap CASCADE;

--
-- What the target lacks or has differently; nothing remains of the call
--
CREATE SCHEMA far;
CREATE TABLE far.first (a int PRIMARY KEY);
CREATE TYPE far.kind AS ENUM ('a');
CREATE TABLE far.type (a int, "B" far.kind[]);
CREATE FUNCTION far.f() RETURNS int LANGUAGE sql RETURN 1;
CREATE TABLE far.func (a int DEFAULT far.f());
CREATE TABLE far.key (a int REFERENCES far.first);
CREATE TABLE far.index (a int);
CREATE INDEX taken ON far.index (a);
CREATE TABLE far.view (a int);
CREATE SEQUENCE far.seq;
CREATE TABLE far.domain (a int);
SELECT count(sessmgr.add_model(oid, relname)::text) FROM pg_class
 WHERE relnamespace = 'far'::regnamespace AND relkind = 'r' AND relname <> 'first';
SELECT sessmgr.add_model('far.first', 'type'), sessmgr.add_model('far.first', 'func'), sessmgr.add_model('far.seq', 'seq');
SELECT metadata, prep(metadata) FROM unnest('{type,func,key}'::name[]) AS metadata;
SELECT there('SELECT count(*)::text FROM pg_namespace WHERE nspname = ''far''');
SELECT prep('index'), there('SELECT string_agg(relname, '' '' ORDER BY relname) FROM pg_class WHERE relnamespace = ''far''::regnamespace');
SELECT sessmgr.execute('mtarget', sql)
  FROM unnest(ARRAY['DROP TABLE far.index', 'CREATE TABLE far.taken ()', 'CREATE VIEW far.view AS SELECT 1 AS a',
                    'CREATE TABLE far.seq ()', 'CREATE DOMAIN far.domain AS int']) AS sql;
SELECT sessmgr.invalidate('mtarget');
SELECT metadata, prep(metadata), prepared(metadata) FROM unnest('{index,view,seq}'::name[]) AS metadata;
-- a foreign key to a table that is not a model is fine if that is there
SELECT sessmgr.execute('mtarget', 'CREATE TABLE far.first (a int PRIMARY KEY, other text)');
SELECT prep('key');
SELECT there('SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = ''far.key''::regclass');
-- an error that a race could give, but does not go away, is not for ever
\set VERBOSITY terse
SELECT sessmgr.prepare_models(sessmgr.get_engine('mtarget'), 'domain');
SELECT state, count(*) FROM sessmgr.connections GROUP BY state;
-- and the wait between is interruptible
SET statement_timeout = '100ms';
SELECT sessmgr.prepare_models(sessmgr.get_engine('mtarget'), 'domain');
RESET statement_timeout;
\set VERBOSITY default
-- nothing of it stays checked out; a connection whose statement had just ended
-- when the timeout came is dropped
SELECT state, count(*) FROM sessmgr.connections WHERE state <> 'idle' GROUP BY state;

--
-- A role prepares only what its privileges reach
--
CREATE SCHEMA roles;
GRANT ALL ON SCHEMA roles TO regress_sm_user, regress_sm_other;
SELECT sessmgr.execute('mtarget', 'CREATE SCHEMA roles');
GRANT USAGE ON FOREIGN SERVER mtarget TO regress_sm_user;
CREATE USER MAPPING FOR regress_sm_user SERVER mtarget OPTIONS (user :'me', password_required 'false');
SET ROLE regress_sm_user;
CREATE TABLE roles.mine (a int);
SELECT sessmgr.add_model('roles.mine', 'roles');
SET ROLE regress_sm_other;
CREATE TABLE roles.theirs (a int);
SELECT sessmgr.add_model('roles.theirs', 'roles');
SET ROLE regress_sm_user;
SELECT sessmgr.prepare_models(sessmgr.get_engine('mtarget'), 'roles');
RESET ROLE;
SELECT there('SELECT string_agg(relname, '' '') FROM pg_class WHERE relnamespace = ''roles''::regnamespace');
SELECT prep('roles');
GRANT regress_sm_other TO regress_sm_user;
SELECT sessmgr.execute('mtarget', 'DROP TABLE roles.theirs');
SET ROLE regress_sm_user;
SELECT sessmgr.invalidate('mtarget'), sessmgr.prepare_models(sessmgr.get_engine('mtarget'), 'roles');
SELECT sessmgr.reset();
RESET ROLE;
REVOKE regress_sm_other FROM regress_sm_user;

-- nothing is registered there: each time it is said, and what was probably meant
SELECT sessmgr.prepare_models(sessmgr.get_engine('mtarget'), 'rolse');
SELECT sessmgr.prepare_models(sessmgr.get_engine('mtarget'), 'rolse');
SELECT sessmgr.prepare_models(sessmgr.get_engine('mtarget'), 'nothing like it');
SELECT sessmgr.prepare_models(sessmgr.get_engine('spi:'), 'ROLES');
SELECT sessmgr.prepare_models(sessmgr.get_engine('mtarget'), 'roles');
SELECT sessmgr.session_factory('mtarget') IS NOT NULL AS and_no_notice_here;

-- as it was
SELECT sessmgr.reset();
SET client_min_messages = warning;
DROP SCHEMA m, m18, "Odd ""Schema", bad, far, roles, tools CASCADE;
DROP FOREIGN DATA WRAPPER regress_sm_dummy CASCADE;
DROP SERVER mtarget CASCADE;
DROP FUNCTION prep, prepared, there, twice, differences, shape;
DROP DATABASE regress_sm_models WITH (FORCE);
RESET client_min_messages;
SELECT count(*) FROM sessmgr.models;
