# Through PgBouncer in its transaction mode: each transaction may get another
# session of the server, which others use before it and after.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessmgrTest;
use Test::More;

my ($distribution) = grep { -x } map { "$_/pgbouncer" } split(/:/, $ENV{PATH}), '/usr/sbin';
my $newer = $ENV{SESSMGR_PGBOUNCER};
plan(skip_all => 'there is no pgbouncer: install the package of that name') unless $distribution || $newer;
plan(skip_all => 'pgbouncer refuses to run as root: run dev/test, which changes to another user') if $> == 0;

# nothing of what sessmgr sets is the server's default
my ($local, $remote) = new_pair(
	local => "max_prepared_transactions = 5\n",
	remote => "max_prepared_transactions = 5\n" . <<'CONF');
intervalstyle = sql_standard
datestyle = 'SQL, DMY'
extra_float_digits = -3
bytea_output = escape
array_nulls = off
CONF
$remote->safe_psql('postgres', q{
	CREATE TABLE t (id serial, who text, at interval);
	CREATE TABLE log (n int);
	CREATE TABLE shape (a int);
	CREATE PROCEDURE two_steps() LANGUAGE plpgsql AS $$
		BEGIN INSERT INTO log VALUES (1); COMMIT; INSERT INTO log VALUES (2); END $$;
	CREATE PROCEDURE gives(INOUT i interval, INOUT n name) LANGUAGE plpgsql AS $$
		BEGIN i := '-1 day -02:03:04'; n := 'x'; END $$});
$local->safe_psql('postgres', q{
	CREATE TABLE here (a int, i interval);
	CREATE TABLE model (id int PRIMARY KEY);
	SELECT sessmgr.add_model('model');
	CREATE FUNCTION loop_rows(n int, target text, mark text) RETURNS int LANGUAGE plpgsql AS $$
	DECLARE wrong int := 0; got text;
	BEGIN
		FOR i IN 1 .. n LOOP
			SELECT x INTO got FROM sessmgr.query(target, format('SELECT %L::text', mark)) AS q(x text);
			wrong := wrong + (got IS DISTINCT FROM mark)::int;
			SELECT x INTO got FROM sessmgr.query(target,
				format('INSERT INTO t (who) VALUES (%L) RETURNING who', mark)) AS q(x text);
			wrong := wrong + (got IS DISTINCT FROM mark)::int;
			got := sessmgr.scalar(target, format('SELECT %L', mark));
			wrong := wrong + (got IS DISTINCT FROM mark)::int;
			got := sessmgr.scalar(target, 'SELECT $1 || ' || quote_literal(mark), i::text);
			wrong := wrong + (got IS DISTINCT FROM i || mark)::int;
		END LOOP;
		RETURN wrong;
	END $$});

sub server
{
	my ($name, $pooler, $options) = @_;
	$local->safe_psql('postgres', qq{
		CREATE SERVER $name FOREIGN DATA WRAPPER sessmgr
			OPTIONS (host '$pooler->{dir}', port '$pooler->{port}', dbname 'postgres'$options);
		CREATE USER MAPPING FOR CURRENT_USER SERVER $name OPTIONS (user '$pooler->{user}')});
}

# What another application gets from the pooler
sub other_gets
{
	my ($pooler, $sql) = @_;
	my ($out, $err);
	IPC::Run::run(['psql', '-XAtq', '-d', $pooler->{connstr}, '-c', $sql], '>', \$out, '2>', \$err)
	  or return $err;
	chomp $out;
	return $out;
}

# Nothing of ours may be left in the only session of the server that there is
sub is_clean
{
	my ($pooler, $when) = @_;
	is(other_gets($pooler, q{SELECT string_agg(setting, ' ' ORDER BY name) FROM pg_settings
			WHERE name IN ('IntervalStyle', 'default_transaction_read_only', 'DateStyle',
				'extra_float_digits', 'bytea_output', 'array_nulls', 'client_connection_check_interval',
				'default_transaction_isolation', 'lc_monetary') AND source = 'session'}),
		'', "no setting is left behind: $when");
	is(other_gets($pooler, q{SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'sessmgr%'}),
		0, "no prepared statement: $when");
	is(other_gets($pooler, q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'}), 0,
		"no lock: $when");
}

sub through
{
	my ($name, $pooler, $maps) = @_;
	my $found = $maps ? 'transaction, prepared statements' : 'transaction';

	server($name, $pooler, '');
	server("${name}_ro", $pooler, q{, read_only 'on', transaction 'autocommit'});
	server("${name}_discard", $pooler, q{, pool_reset_on_return 'discard'});
	server("${name}_uncached", $pooler, q{, statement_cache_size '0'});
	server("${name}_said", $pooler, q{, pooler 'transaction', transaction 'joined'});
	server("${name}_two", $pooler, q{, transaction 'two_phase'});
	server("${name}_serial", $pooler, q{, isolation_level 'SERIALIZABLE', transaction 'autocommit'});
	$remote->safe_psql('postgres', 'TRUNCATE t, log');

	# two backends with the same names for different statements
	foreach my $target ($name, "${name}_uncached", "${name}_said")
	{
		my @psqls = (psql($local), psql($local));
		$psqls[$_]->start(sprintf(q{SELECT loop_rows(100, '%s', '%s')}, $target, $_ ? 'B' : 'A')) foreach 0, 1;
		my @wrong = map { ($_->finish)[0] } @psqls;
		is("@wrong", '0 0', "$target: each backend gets its own rows");
		$_->quit foreach @psqls;
	}
	is($remote->safe_psql('postgres', 'SELECT string_agg(n::text, $$ $$) FROM (SELECT count(*) n FROM t GROUP BY who) c'),
		'300 300', 'and runs its own statements');
	is_clean($pooler, 'loops');

	my $psql = psql($local);
	$psql->is(qq{SELECT sessmgr.scalar('$name', 'SELECT 1')}, 1, "$name: connects");
	$psql->is('SELECT pooler FROM sessmgr.connections', $found, 'what was found is shown');

	# text has our form on its way
	my $odd = q{interval '-1 day -02:03:04'};
	my $sum = q{0.1::float8 + 0.2};
	$psql->is(qq{SELECT sessmgr.scalar('$name', 'SELECT $_')},
		$local->safe_psql('postgres', "SELECT $_"), "scalar: $_")
	  foreach map { s/'/''/gr } 'now() IS NOT NULL';
	$psql->is(qq{SELECT sessmgr.scalar_as(NULL::interval, '$name', \$\$SELECT $odd\$\$)}, '-1 days -02:03:04',
		'an interval');
	$psql->is(qq{SELECT x, y, z, d FROM sessmgr.query('$name', \$\$SELECT $odd, $sum, '\\xff00'::bytea, date '2001-02-03', '{a}'::text[]::name[]\$\$)
		AS q(x interval, y float8, z text, d text, e text)}, '-1 days -02:03:04|0.30000000000000004|\xff00|2001-02-03', 'values in text form');
	$psql->is(qq{SELECT sessmgr.execute('$name', 'INSERT INTO t (who, at) VALUES (''i'', \$1::text::interval)', '-1 day -02:03:04'::text)},
		1, 'a parameter in text form');
	is($remote->safe_psql('postgres', q{SET intervalstyle = postgres; SELECT at FROM t WHERE who = 'i'}),
		'-1 days -02:03:04', 'is read in our form, too');

	# read only, and not for others
	$psql->is(qq{SELECT sessmgr.scalar('${name}_ro', 'SHOW transaction_read_only')}, 'on', 'read only');
	$psql->fails(qq{SELECT sessmgr.execute('${name}_ro', 'INSERT INTO log VALUES (9)')}, '25006', 'it is meant so');
	is(other_gets($pooler, 'SHOW transaction_read_only'), 'off', 'but not for others');
	$psql->is(qq{SELECT sessmgr.execute('$name', 'INSERT INTO log VALUES (0)')}, 1, 'nor for another engine');
	$psql->is(qq{SELECT sessmgr.scalar('${name}_serial', 'SHOW transaction_isolation')}, 'serializable', 'isolation');
	$psql->fails(qq{SELECT sessmgr.execute('${name}_ro', 'VACUUM log')}, '25001',
		'what cannot be in a transaction is not read only');

	# what cannot be in a transaction block
	$psql->is(qq{SELECT sessmgr.execute('$name', 'VACUUM log')}, 0, "VACUUM") for 1 .. 3;
	$psql->is(qq{SELECT sessmgr.execute('$name', 'CREATE DATABASE other')}, 0, 'CREATE DATABASE');
	$psql->is(qq{SELECT sessmgr.execute('$name', 'DROP DATABASE other')}, 0, 'DROP DATABASE');
	$psql->fails(qq{SELECT sessmgr.execute('$name', 'VACUUM nowhere')}, '42P01', 'its own error');
	$psql->is(qq{SELECT sessmgr.execute('$name', '; /* a /* b */ */ -- c\n CALL two_steps()')}, 0, 'a procedure that commits');
	$psql->is(qq{SELECT i, n FROM sessmgr.query('$name', 'CALL gives(NULL, NULL)') AS q(i interval, n text)}, '-1 days -02:03:04|x',
		'a procedure whose values are wanted');
	$psql->is(qq{SELECT sessmgr.execute('$name', 'DO \$\$ BEGIN INSERT INTO log VALUES (3); COMMIT; END \$\$')}, 0, 'DO');
	$psql->is(qq{SELECT count(*) FROM sessmgr.execute_all(ARRAY['$name', '$name'], 'VACUUM log') WHERE error IS NULL},
		2, 'VACUUM on many');
	is($remote->safe_psql('postgres', 'SELECT string_agg(n::text, $$,$$ ORDER BY n) FROM log'), '0,1,2,3', 'is done once');
	$psql->fails(qq{SELECT sessmgr.execute('$name', 'COMMIT')}, '2D000', 'transaction control is refused');
	$psql->fails(qq{SELECT sessmgr.execute('$name', 'SELECT 1/0')}, '22012', 'errors');
	$psql->fails(qq{SELECT sessmgr.execute('$name', 'COPY log FROM STDIN')}, '0A000', 'COPY from the client is refused');
	$psql->fails(qq{SELECT * FROM sessmgr.query('$name', 'INSERT INTO log VALUES (7) RETURNING n, n') AS q(n int)}, '42804',
		'another shape');
	is($remote->safe_psql('postgres', 'SELECT count(*) FROM log WHERE n = 7'), 0, 'is found before it takes effect');

	# a shape that changes
	my $shape = qq{SELECT sessmgr.scalar('$name', 'SELECT a FROM shape'), x FROM sessmgr.query('$name', 'SELECT a FROM shape') AS q(x text)};
	$remote->safe_psql('postgres', 'TRUNCATE shape; INSERT INTO shape VALUES (5)');
	$psql->is($shape, '5|5', 'a table') for 1 .. 3;
	$remote->safe_psql('postgres', 'ALTER TABLE shape ALTER a TYPE float4');
	$psql->is($shape, '5|5', 'its column has another type') for 1 .. 3;
	$remote->safe_psql('postgres', 'ALTER TABLE shape ALTER a TYPE int');

	# sessions, savepoints, streams
	my $s = q{:'s'::sessmgr.session};
	$psql->open('s', $name);
	$psql->is("SELECT sessmgr.execute($s, 'INSERT INTO log VALUES (10)'), sessmgr.begin_nested($s)", '1|1', 'a session');
	$psql->value("SELECT sessmgr.execute($s, 'INSERT INTO log VALUES (11)')");
	$psql->value("SELECT sessmgr.rollback_to($s, 1)");
	$psql->is(qq{SELECT string_agg(x::text, ',') FROM sessmgr.query($s, \$\$SELECT $odd FROM generate_series(1, 2)\$\$) AS q(x interval)},
		'-1 days -02:03:04,-1 days -02:03:04', 'its rows');
	$psql->value("SELECT sessmgr.commit($s)");
	$psql->is("SELECT sessmgr.execute($s, 'INSERT INTO log VALUES (12)')", 1, 'its next transaction');
	$psql->is("SELECT sessmgr.scalar($s, 'SHOW intervalstyle')", 'postgres', 'has the settings, too');
	$psql->value("SELECT sessmgr.execute($s, 'SET LOCAL intervalstyle = iso_8601')");
	$psql->is(qq{SELECT x FROM sessmgr.query($s, \$\$SELECT $odd, 'x'::name\$\$) AS q(x interval, y text)}, '-1 days -02:03:04',
		'also after they were changed');
	$psql->value("SELECT sessmgr.rollback($s)");
	is($remote->safe_psql('postgres', 'SELECT string_agg(n::text, $$,$$) FROM log WHERE n >= 10'), '10', 'is committed');
	$psql->is(qq{SELECT count(*), max(x), max(i) FROM sessmgr.stream('$name', \$\$SELECT n, $odd FROM generate_series(1, 5000) n\$\$) AS q(x int, i interval)},
		'5000|5000|-1 days -02:03:04', 'a stream');
	$psql->is(qq{SELECT count(*), max(x) FROM sessmgr.stream($s, 'SELECT n FROM generate_series(1, 5000) n') AS q(x int)},
		'5000|5000', 'a cursor');
	$psql->value("SELECT sessmgr.rollback($s)");
	$psql->run(qq{BEGIN; SELECT sessmgr.execute('${name}_said', 'INSERT INTO log VALUES (20)'); SAVEPOINT a;
		SELECT sessmgr.execute('${name}_said', 'INSERT INTO log VALUES (21)'); ROLLBACK TO a; COMMIT});
	is($remote->safe_psql('postgres', 'SELECT string_agg(n::text, $$,$$) FROM log WHERE n >= 20'), '20', 'joined');
	is_clean($pooler, 'sessions');

	# bulk, many, asynchronous, models
	$psql->is(qq{SELECT sessmgr.execute_many('$name', 'INSERT INTO log VALUES (\$1)', 'SELECT generate_series(101, 400)')}, 300, 'execute_many');
	$psql->is(qq{SELECT sessmgr.push('$name', 'SELECT generate_series(401, 500)', 'log')}, 100, 'push');
	$psql->is(qq{SELECT sessmgr.pull('$name', \$\$SELECT n, $odd FROM log WHERE n > 100\$\$, 'here')}, 400, 'pull');
	$psql->is('SELECT count(*), max(i) FROM here; TRUNCATE here', '400|-1 days -02:03:04', 'with the right values');
	$psql->is(qq{SELECT count(*) FROM sessmgr.query_all(ARRAY['$name'], 'SELECT 1') AS q(target text, x int)}, 1, 'query_all');
	$psql->is(qq{SELECT string_agg(rows::text, ',') FROM sessmgr.execute_all(ARRAY['$name', '${name}_ro', '${name}_uncached'], 'SELECT 1')},
		'1,1,1', 'execute_all');
	$psql->open('a', $name, '{"hold": true, "transaction": "autocommit"}');
	$psql->value(qq{SELECT sessmgr.send(:'a'::sessmgr.session, \$\$SELECT $odd\$\$)});
	$psql->is(q{SELECT x FROM sessmgr.receive(:'a'::sessmgr.session) AS q(x interval)}, '-1 days -02:03:04', 'send and receive');
	$psql->value(q{SELECT sessmgr.send(:'a'::sessmgr.session, 'VACUUM log')});
	$psql->fails(q{SELECT x FROM sessmgr.receive(:'a'::sessmgr.session) AS q(x bigint)}, '', 'of what cannot be in a transaction');
	$psql->is(qq{SELECT sessmgr.prepare_models(sessmgr.get_engine('$name'))}, 1, 'models');
	$remote->safe_psql('postgres', 'DROP TABLE model');
	$psql->is(qq{SELECT sessmgr.scalar('${name}_discard', 'SELECT 1')}, 1, 'discard') for 1 .. 3;
	$psql->fails(qq{SELECT sessmgr.execute('${name}_two', 'SELECT 1')}, '0A000', 'two_phase is refused');
	$psql->fails(qq{SELECT * FROM sessmgr.recover('$name')}, '0A000', 'as is recover');
	is_clean($pooler, 'the rest');

	# canceled
	$psql->value("SET statement_timeout = '1s'");
	$psql->fails(qq{SELECT sessmgr.execute('$name', 'SELECT pg_sleep(600) /* slow */')}, '57014', 'a statement is canceled');
	$psql->value('RESET statement_timeout');
	ok(wait_for(sub { $remote->safe_psql('postgres',
			q{SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%slow %'
				AND pid <> pg_backend_pid()}) == 0 }), 'and is gone there');
	$psql->is(qq{SELECT sessmgr.scalar('$name', 'SELECT 43')}, 43, 'the connection is usable');

	# prepared statements only where their names are kept true
	$psql->is(qq{SELECT max(sessmgr.scalar('$name', 'SELECT count(*) > 0 FROM pg_prepared_statements WHERE statement LIKE ''%seen%'''))
		FROM generate_series(1, 5)}, $maps ? 't' : 'f', 'prepared statements');
	$psql->is(qq{SELECT sum(sessmgr.scalar_as(NULL::int, '$name', 'SELECT \$1 + ' || i % 150, i)) FROM generate_series(1, 450) i},
		135000, 'more of them than are kept');
	is_clean($pooler, 'at the end');
	$psql->quit;
}

foreach my $case ([ 'distribution', $distribution ], [ 'newer', $newer ])
{
  SKIP:
	{
		my ($name, $program) = @$case;
		left_out("there is no $name pgbouncer: dev/pgbouncer-prefix gets a newer one", 1) unless $program;
		my ($version) = `$program --version` =~ /PgBouncer (\d+\.\d+)/;
		my ($minor) = $version =~ /\.(\d+)/;
		foreach my $maps ($minor >= 21 ? (0, 1) : (0))
		{
			my $pooler = start_pgbouncer($remote, program => $program, pool_mode => 'transaction',
				default_pool_size => 1, $minor >= 21 ? (max_prepared_statements => $maps ? 100 : 0) : ());
			ok($pooler, "pgbouncer $version runs") or next;
			through("$name$maps", $pooler, $maps);
			stop_pgbouncer($pooler);
			next unless $maps;

			# a statement that is prepared meets another session there, which has
			# another plan for it
			$pooler = start_pgbouncer($remote, program => $program, pool_mode => 'transaction',
				default_pool_size => 2, max_prepared_statements => 100);
			ok($pooler, 'one with two sessions of the server runs') or next;
			server('two', $pooler, '');
			my ($psql, $other) = (psql($local), psql($local));
			my $rows = q{SELECT sessmgr.query_json('two', 'SELECT * FROM shape')};
			$psql->is($rows, '{"a": 5}', 'in one session') for 1 .. 3;
			$other->open('s', 'two');
			$other->value(q{SELECT sessmgr.begin(:'s'::sessmgr.session)});
			$remote->safe_psql('postgres', 'ALTER TABLE shape ADD b int');
			$psql->is($rows, '{"a": 5, "b": null}', 'and in the other');
			$remote->safe_psql('postgres', 'ALTER TABLE shape DROP b');
			$_->quit foreach ($psql, $other);
			stop_pgbouncer($pooler);
		}
	}
}

# no two backends have the same name for a statement, pooler or not
my %names;
foreach (1, 2)
{
	my $psql = psql($local);
	$psql->value(q{SELECT sessmgr.scalar('remote', 'SELECT $1', i::text) FROM generate_series(1, 3) i});
	$names{ $psql->value(q{SELECT sessmgr.scalar('remote', 'SELECT string_agg(name, '','') FROM pg_prepared_statements')}) } = 1;
	$psql->is('SELECT DISTINCT pooler FROM sessmgr.connections', 'none', 'without a pooler');
	$psql->quit;
}
is(scalar(grep { /^sessmgr_/ } keys %names), 2, 'names of prepared statements are nobody else\'s');

$local->stop;
$remote->stop;
done_testing();
