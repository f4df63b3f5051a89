# The registry of models across backends, snapshots, dumps and dropped tables;
# targets that only read, or have settings of their own.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessmgrTest;
use Test::More;

my $remote = new_node('remote', "wal_level = replica\nmax_wal_senders = 4\n");
my $local = new_node('local');
$local->safe_psql('postgres', 'CREATE EXTENSION sessmgr');
new_server($local, $remote, 'remote');

my $one = psql($local);
my $two = psql($local);
my $prepare = "SELECT sessmgr.prepare_models(sessmgr.get_engine('remote'))";
my $prepared = "SELECT sessmgr.prepared(sessmgr.get_engine('remote'))";

# ---- what another backend registers

$one->value('CREATE SCHEMA m; CREATE TABLE m.a (id int PRIMARY KEY)');
$one->value("SELECT sessmgr.add_model('m.a')");
$two->is($prepare, 1, 'another backend makes a model');
$two->is($prepared, 't', '... and remembers it');
$one->value('CREATE TABLE m.b (id int)');
$two->is($prepared, 't', 'a new table means nothing to it');
$one->value("BEGIN; SELECT sessmgr.add_model('m.b')");
$two->is($prepared, 't', '... nor does a registration that is not committed');
$one->value('COMMIT');
$two->is($prepared, 'f', '... but a committed one does');
$two->is($prepare, 1, '... and is made');
$one->value('DROP TABLE m.b');
$two->is($prepared, 'f', 'a dropped table is noticed, too');
$two->is($prepare, 0, '... and makes nothing');

# Within one statement's loop, without any transaction in between
$one->value('CREATE TABLE m.c (id int)');
$two->start("DO 'DECLARE e sessmgr.engine := sessmgr.get_engine(''remote''); n int := 0;
	BEGIN
		LOOP
			n := n + sessmgr.prepare_models(e);
			EXIT WHEN n > 0;
			PERFORM pg_sleep(0.01);
		END LOOP;
	END'");
$one->value("SELECT sessmgr.add_model('m.c')");
$two->fails(undef, '', 'a backend in the middle of a statement learns it');

# ---- transactions older than the model

$two->value("SELECT sessmgr.reset()");
$two->value('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM m.a');
$one->value("CREATE TABLE m.d (id int); SELECT sessmgr.add_model('m.d')");
$two->is('SELECT count(*) FROM sessmgr.models', 2, 'an old snapshot does not show a new model');
$two->is($prepare, 1, '... but it is prepared');
$two->value('COMMIT');
$two->value('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM m.a');
$one->value("CREATE TABLE m.e (id int PRIMARY KEY); SELECT sessmgr.add_model('m.e')");
$two->fails($prepare, '40001', 'a constraint that is too new is an error');
$two->value('ROLLBACK');
$two->is($prepare, 1, '... of that transaction only');

# ---- one registers what another one is dropping

$one->value('CREATE TABLE m.f (id int); BEGIN; DROP TABLE m.f');
$two->start("SELECT sessmgr.add_model('m.f')");
ok(wait_for(sub { $local->safe_psql('postgres', 'SELECT count(*) FROM pg_locks WHERE NOT granted') }),
	'add_model waits for a DROP under way');
$one->value('COMMIT');
$two->fails(undef, '42P01', '... and finds nothing to register');
$one->value('CREATE TABLE m.f (id int)');
$two->value("BEGIN; SELECT sessmgr.add_model('m.f')");
$one->start('DROP TABLE m.f');
ok(wait_for(sub { $local->safe_psql('postgres', 'SELECT count(*) FROM pg_locks WHERE NOT granted') }),
	'a DROP waits for add_model');
$two->value('COMMIT');
$one->finish;
$one->is("SELECT count(*) FROM sessmgr.model_registry WHERE relation::text ~ 'm.f|^[0-9]'", 0,
	'... and removes what it registered');

# ---- dump and restore
my $db_number = 0;

$one->value('CREATE SEQUENCE m."S q"; CREATE TABLE m.gone (id int)');
$one->value(q{SELECT sessmgr.add_model('m."S q"', 'Other "one"'), sessmgr.add_model('m.gone')});
$one->value('ALTER EVENT TRIGGER sessmgr_models_dropped DISABLE; DROP TABLE m.gone; '
	  . 'ALTER EVENT TRIGGER sessmgr_models_dropped ENABLE');
my $models = 'SELECT relation, metadata, kind FROM sessmgr.models ORDER BY relation::text, metadata';
my $shown = $one->value($models);
$one->is('SELECT count(*) FROM sessmgr.model_registry', 6, 'a row without a table');
is(scalar(() = $shown =~ /^/mg), 5, '... is not shown');
$two->is($prepare, 0, '... and makes no trouble');
my $dump = $local->basedir . '/dump';
command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-d', $local->connstr('postgres') ], 'pg_dump');
$local->safe_psql('postgres', 'CREATE DATABASE restored TEMPLATE template0');
command_ok([ 'pg_restore', '-e', '-d', $local->connstr('restored'), $dump ], 'pg_restore');
my $restored = psql($local, db => 'restored');
$restored->is($models, $shown, 'the registry comes back');
$restored->is('SELECT count(*) FROM sessmgr.model_registry', 5, '... without that row');
$restored->is($prepare, 0, '... and is as good as the old one');
$restored->value('DROP TABLE m.a; DROP EXTENSION sessmgr CASCADE; DROP TABLE m.c');
$restored->is('SELECT count(*) FROM pg_event_trigger', 0, 'nothing stays behind without the extension');
$restored->is(q{SELECT count(*) FROM pg_namespace WHERE nspname = 'sessmgr'}, 0, '... nor does its schema');
$restored->value('CREATE EXTENSION sessmgr');
$restored->is('SELECT count(*) FROM sessmgr.models', 0, '... and it can be created anew');
$restored->quit;

# tables that were left out, or are not there yet: what is lost is only theirs
$one->value('CREATE TABLE m."T 1" (id int); CREATE TABLE m.t2 (id int)');
$one->value(q{SELECT sessmgr.add_model('m."T 1"'), sessmgr.add_model('m.t2'), sessmgr.add_model('m.t2', 'x')});
$shown = $one->value($models);
my @ways = (
	[ 'one table left out', '', ['m.t2'], [] ],
	[ 'two of them, as INSERT', '', [ 'm.t2', 'm."T 1"' ], ['--inserts'] ],
	[ 'a sequence left out', '', ['m."S q"'], [] ],
	[ 'in parallel', '', ['m.t2'], [ '-Fd', '-j2' ] ],
	[ 'only data', 'CREATE EXTENSION sessmgr; CREATE SCHEMA m; CREATE TABLE m."T 1" (id int)',
		[], ['--data-only', '--disable-triggers'] ]);
foreach my $way (@ways)
{
	my ($what, $before, $without, $options) = @$way;
	my ($db, $file) = ("restored_" . ++$db_number, $local->basedir . "/dump_$db_number");
	my ($parallel) = grep { /^-j/ } @$options;

	$local->safe_psql('postgres', "CREATE DATABASE $db TEMPLATE template0");
	$local->safe_psql($db, $before) if $before;
	command_ok([ 'pg_dump', $parallel ? () : '-Fc', '-f', $file, @$options, (map { ('-T', $_) } @$without),
		$before ? ('-t', 'sessmgr.model_registry') : (), '-d', $local->connstr('postgres') ], "pg_dump: $what");
	command_ok([ 'pg_restore', '-e', $parallel // '-j1', '-d', $local->connstr($db), $file ],
		"pg_restore: $what");
	my $left = join("\n", grep { my $row = $_; !grep { $row =~ /^\Q$_\E\|/ } @$without } split(/\n/, $shown));
	$left = join("\n", grep { /^m\."T 1"/ } split(/\n/, $shown)) if $before;
	is($local->safe_psql($db, $models), $left, "what is there is registered: $what");
	$local->safe_psql($db, 'CREATE TABLE IF NOT EXISTS m.new (id int); '
		  . "SELECT sessmgr.add_model('m.new'), sessmgr.drop_model('m.new'); DROP TABLE m.new");
	is($local->safe_psql($db, 'SELECT count(*) FROM sessmgr.model_registry WHERE relation = 0'), 0,
		"... and the next drop removes the rows of what is not: $what");
}
$one->value(q{DROP TABLE m."T 1", m.t2});

# ---- a target that cannot be written to

$remote->backup('standby');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($remote, 'standby', has_streaming => 1);
$standby->start;
new_server($local, $standby, 'standby');
my $on_standby = "SELECT sessmgr.prepare_models(sessmgr.get_engine('standby'))";
$one->is($on_standby, 0, 'a standby that has all of it will do');
$one->value("CREATE TABLE m.g (id int); SELECT sessmgr.add_model('m.g')");
$one->fails($on_standby, '25006', '... one that has not will not');
like($one->{last_err}, qr/HINT:  The model is missing on the target, which is read only/, '... and says why');
$one->is($prepare, 1, '... until the primary is asked');
$remote->wait_for_catchup($standby);
$one->is($on_standby, 0, '... and the standby has followed');

# ---- a role or database there with defaults of its own

$remote->safe_psql('postgres', q{
	ALTER DATABASE postgres SET default_transaction_isolation = 'serializable';
	ALTER DATABASE postgres SET search_path = 'm';
	ALTER DATABASE postgres SET standard_conforming_strings = off;
	ALTER DATABASE postgres SET intervalstyle = 'sql_standard';
	ALTER DATABASE postgres SET datestyle = 'SQL, DMY';
	CREATE FUNCTION m.now() RETURNS timestamptz LANGUAGE sql RETURN '-infinity'::timestamptz;
	CREATE DOMAIN m.int4 AS text});
$one->value(q{CREATE TABLE m.h (d date DEFAULT '2024-02-03', i interval DEFAULT '-1 day +02:03:04',
	t text DEFAULT E'a\\\\b', n timestamptz DEFAULT now(), k int4);
	SELECT sessmgr.add_model('m.h')});
$one->value('SELECT sessmgr.reset()');
$one->is($prepare, 1, 'a target with settings of its own');
my $columns = q{SELECT string_agg(concat_ws(' ', attname, format_type(atttypid, -1),
	pg_get_expr(adbin, adrelid)), ', ' ORDER BY attnum)
	FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
	WHERE attrelid = 'm.h'::regclass AND attnum > 0};
$remote->safe_psql('postgres', "ALTER DATABASE postgres RESET $_")
  foreach qw(search_path standard_conforming_strings intervalstyle datestyle);
is(psql($remote)->value($columns), $one->value($columns), '... reads the same');

$_->quit foreach ($one, $two);
done_testing();
