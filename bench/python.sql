-- What a program in PL/Python does, as bench/run measures it: psycopg2 by
-- itself, and Celery's SessionManager with SQLAlchemy.  Both keep what they have
-- in GD, which lives as long as the backend.
CREATE EXTENSION plpython3u;

CREATE FUNCTION python_begin() RETURNS void LANGUAGE plpython3u AS $$
dsn = plpy.execute("SELECT current_setting('bench.remote') AS dsn")[0]['dsn']

def connect():
    import psycopg2
    return psycopg2.connect(dsn)

def connection():
    if 'connection' not in GD:
        GD['connection'] = connect()
        GD['connection'].autocommit = True
    return GD['connection']

def session(forked=True):
    "a session of the manager that Celery's workers (forked) or its clients have"
    from celery.backends.database.session import SessionManager
    import sqlalchemy
    manager = GD.get(forked)
    if manager is None:
        manager = GD[forked] = SessionManager()
        manager.forked = forked
        GD['text'] = sqlalchemy.text
    host = dsn.split()[0].split('=')[1]
    return manager.session_factory('postgresql+psycopg2://postgres@/postgres?port=5432&host=' + host)

GD['connect'], GD['connection_of'], GD['session'] = connect, connection, session
$$;

CREATE FUNCTION by_key_psycopg2(k integer) RETURNS text LANGUAGE plpython3u AS $$
if 'session' not in GD:
    plpy.execute('SELECT python_begin()')
cursor = GD['connection_of']().cursor()
cursor.execute('SELECT v FROM kv WHERE k = %s', (k,))
return cursor.fetchone()[0]
$$;

CREATE FUNCTION by_key_psycopg2_closed(k integer) RETURNS text LANGUAGE plpython3u AS $$
if 'session' not in GD:
    plpy.execute('SELECT python_begin()')
connection = GD['connect']()
try:
    cursor = connection.cursor()
    cursor.execute('SELECT v FROM kv WHERE k = %s', (k,))
    return cursor.fetchone()[0]
finally:
    connection.close()
$$;

CREATE FUNCTION by_key_celery(k integer, forked boolean DEFAULT true) RETURNS text LANGUAGE plpython3u AS $$
if 'session' not in GD:
    plpy.execute('SELECT python_begin()')
session = GD['session'](forked)
try:
    return session.execute(GD['text']('SELECT v FROM kv WHERE k = :k'), {'k': k}).scalar()
finally:
    session.close()
$$;

CREATE FUNCTION numbers_psycopg2(n bigint, OUT i integer, OUT f float8, OUT t text, OUT ts timestamptz)
    RETURNS SETOF record LANGUAGE plpython3u AS $$
if 'session' not in GD:
    plpy.execute('SELECT python_begin()')
cursor = GD['connection_of']().cursor()
cursor.execute('SELECT i, f, t, ts FROM numbers LIMIT %s', (n,))
return cursor
$$;

CREATE FUNCTION numbers_celery(n bigint, OUT i integer, OUT f float8, OUT t text, OUT ts timestamptz)
    RETURNS SETOF record LANGUAGE plpython3u AS $$
if 'session' not in GD:
    plpy.execute('SELECT python_begin()')
session = GD['session']()
try:
    return [tuple(row) for row in session.execute(GD['text']('SELECT i, f, t, ts FROM numbers LIMIT :n'), {'n': n})]
finally:
    session.close()
$$;

CREATE FUNCTION insert_psycopg2(n integer) RETURNS void LANGUAGE plpython3u AS $$
if 'session' not in GD:
    plpy.execute('SELECT python_begin()')
cursor = GD['connection_of']().cursor()
cursor.execute('BEGIN')
cursor.executemany('INSERT INTO t VALUES (%s, %s)', [(i, 'some text of no great length') for i in range(n)])
cursor.execute('COMMIT')
$$;

CREATE FUNCTION insert_celery(n integer) RETURNS void LANGUAGE plpython3u AS $$
if 'session' not in GD:
    plpy.execute('SELECT python_begin()')
session = GD['session']()
try:
    session.execute(GD['text']('INSERT INTO t VALUES (:i, :v)'),
                    [{'i': i, 'v': 'some text of no great length'} for i in range(n)])
    session.commit()
finally:
    session.close()
$$;

CREATE FUNCTION push_psycopg2(n bigint) RETURNS void LANGUAGE plpython3u AS $$
if 'session' not in GD:
    plpy.execute('SELECT python_begin()')
import io
lines = io.StringIO()
for row in plpy.cursor('SELECT i, v FROM source LIMIT %d' % n):
    lines.write('%d\t%s\n' % (row['i'], row['v']))
lines.seek(0)
connection = GD['connection_of']()
connection.cursor().copy_expert('COPY t FROM STDIN', lines)
$$;

CALL make_loop('psycopg2', 'x := by_key_psycopg2(i)');
CALL make_loop('psycopg2_closed', 'x := by_key_psycopg2_closed(i)');
CALL make_loop('celery', 'x := by_key_celery(i)');
CALL make_loop('celery_closed', 'x := by_key_celery(i, false)');
