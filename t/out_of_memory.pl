# Out of memory: whichever allocation fails, it is 53200 and nothing else, and
# the backend goes on as if nothing had happened.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Utils;
use SessmgrTest;
use Test::More;

plan(skip_all => 'a sanitizer has allocations of its own') if sanitized();
chomp(my $library = `pg_config --pkglibdir`);
$library .= '/mallocfail.so';
plan(skip_all => 't/mallocfail is not installed: run dev/test') unless -e $library;

my $remote = new_node('remote', "max_prepared_transactions = 10\n");
my $local = do
{
	local $ENV{LD_PRELOAD} = $library;
	new_node('local');
};
$local->safe_psql('postgres', qq{
	CREATE EXTENSION sessmgr;
	CREATE FUNCTION fail_allocation(cstring, int) RETURNS void AS '$library', 'mallocfail_set' LANGUAGE c STRICT;
	CREATE FUNCTION has_failed() RETURNS boolean AS '$library', 'mallocfail_end' LANGUAGE c STRICT;
	CREATE TABLE copy (i int, t text)});
$remote->safe_psql('postgres', 'CREATE TABLE t (i int, t text)');
new_server($local, $remote, 'remote');
# libpq waits for ever where it has no memory for the answer to COPY FROM STDIN,
# and nobody can see that
new_server($local, $remote, 'timed', "statement_timeout '2s'");
new_server($local, $remote, 'joined', "transaction 'joined'");
new_server($local, $remote, 'two_phase', "transaction 'two_phase'");
my $uri = sprintf('postgresql:///postgres?host=%s&port=%s', $remote->host, $remote->port);

# Lets the first allocation of $object fail, then the second, and so on, while
# $sql runs, until one runs without any that fails.  {fresh}: in a new backend
# each time.  {before} and {after}, which must succeed, run without any that fails.
sub each_fails
{
	my ($psql, $object, $sql, $name, %option) = @_;
	my (%states, $n);

	$psql->value($option{before}) if $option{before};
	for ($n = 1; $n < 2000; $n++)
	{
		$psql = psql($local) if $option{fresh};
		$psql->value("SELECT fail_allocation('$object', $n)");
		my ($out, $err, $state) = $psql->run($sql);
		$state = 'lost' if $psql->{lost};
		my $failed = $state eq 'lost' ? 't' : $psql->value('SELECT has_failed()');

		note("$name, $n: $state $err") if $state !~ /^(|53200)$/;
		$states{$state}++ if $failed eq 't';
		next if $state eq 'lost' && $option{fresh};
		last if $state eq 'lost';
		$psql->run('ROLLBACK');
		if ($option{after})
		{
			(undef, $err, $state) = $psql->run($option{after});
			note("$name, $n, afterwards: $err");
			$states{"afterwards $state"}++ if $state ne '';
		}
		$psql->quit if $option{fresh};
		last if $failed eq 'f';
	}
	note("$name: $n allocations");
	my $allowed = $option{allowed} // qr/^(53200|)$/;
	is(join(' ', grep { !/$allowed/ } sort keys %states), '', "$name: " . ($n - 1) . ' allocations fail');
	ok((grep { $_ ne '' } keys %states), "$name: and some of them matter") unless $option{spared};
	return;
}

# A statement that commits by itself may have been done
my $in_doubt = qr/^(53200|08007|)$/;

# ---- the library itself

each_fails(undef, 'postgres: ', "LOAD 'sessmgr'", 'loading', fresh => 1,
	after => q{SELECT sessmgr.scalar('remote', 'SELECT 1')},
	# the server itself ends a backend that cannot keep a setting's value
	allowed => qr/^(53200|lost|)$/);

# ---- libpq

my $psql = psql($local);
# libpq of 18 closes a connection for one allocation that fails while it is set
# up, and does not say why
my $silent = $psql->value(q{SELECT current_setting('server_version_num')}) >= 180000 ? qr/^(53200|08001|08007|)$/ : $in_doubt;
my $warm = q{SELECT sessmgr.scalar('remote', 'SELECT 1')};

each_fails($psql, 'libpq.so', q{SELECT sessmgr.scalar('remote', 'SELECT 1')}, 'the first connection', fresh => 1, allowed => $silent);
each_fails($psql, 'libpq.so', qq{SELECT sessmgr.scalar('$uri', 'SELECT 1')}, 'a connection by URI', allowed => $silent,
	after => 'SELECT sessmgr.reset()');
each_fails($psql, 'libpq.so', qq{SELECT sessmgr.get_engine('host=/tmp dbname=x')}, 'a keyword string',
	after => 'SELECT sessmgr.reset()');
each_fails($psql, 'libpq.so', q{SELECT sessmgr.scalar('remote', 'SELECT $1', repeat('x', 100000))}, 'one row', before => $warm, after => $warm, allowed => $in_doubt);
each_fails($psql, 'libpq.so', q{SELECT sessmgr.execute('remote', 'SELECT ' || n || ' FROM generate_series(1, 3)') FROM generate_series(1, 3) n},
	'new statements', before => $warm, after => $warm, allowed => $in_doubt);
each_fails($psql, 'libpq.so', q{SELECT count(*) FROM sessmgr.query('remote', 'SELECT n, repeat(''y'', 10000) FROM generate_series(1, 50) n') t(n int, y text)},
	'rows', before => $warm, after => $warm, allowed => $in_doubt);
each_fails($psql, 'libpq.so', q{SELECT count(*) FROM sessmgr.stream('remote', 'SELECT n, repeat(''y'', 10000) FROM generate_series(1, 50) n') t(n int, y text)},
	'a stream', before => $warm, after => $warm);
each_fails($psql, 'libpq.so', q{SELECT sessmgr.pull('remote', 'SELECT n, repeat(''y'', 10000) FROM generate_series(1, 50) n', 'copy')},
	'pull', before => $warm, after => $warm, allowed => $in_doubt);
each_fails($psql, 'libpq.so', q{SELECT sessmgr.push('timed', 'SELECT n, repeat(''y'', 10000) FROM generate_series(1, 50) n', 't')},
	'push', before => $warm, after => $warm, allowed => qr/^(53200|08007|57014|)$/);
each_fails($psql, 'libpq.so', q{SELECT sessmgr.execute_many('remote', 'INSERT INTO t VALUES ($1, $2)', 'SELECT n, ''x''::text FROM generate_series(1, 50) n')},
	'execute_many', before => $warm, after => $warm, allowed => $in_doubt);
each_fails($psql, 'libpq.so', q{SELECT sessmgr.execute('remote', 'INSERT INTO t VALUES (1)')},
	'an autocommit statement', before => $warm, after => $warm, allowed => $in_doubt);
each_fails($psql, 'libpq.so', q{SELECT sessmgr.scalar('remote', 'SELECT 1/0')}, 'an error', before => $warm, after => $warm, allowed => qr/^(53200|22012|08007|)$/);
each_fails($psql, 'libpq.so', q{SELECT 1 FROM sessmgr.query_all('{remote,joined}', 'SELECT 1') t(target text, i int)},
	# a connection may be given up after the statement, and before COMMIT
	'query_all', before => $warm, after => $warm, allowed => qr/^(53200|08006|08007|)$/);
each_fails($psql, 'libpq.so', q{DO $$ DECLARE bad text; BEGIN
		bad := (SELECT max(sqlstate) FROM sessmgr.execute_all('{remote,joined}', 'SELECT 1'));
		IF bad IS NOT NULL THEN RAISE EXCEPTION USING ERRCODE = bad; END IF; END $$},
	'execute_all', before => $warm, after => $warm, allowed => $in_doubt);
each_fails($psql, 'libpq.so', q{SELECT sessmgr.execute(t, 'INSERT INTO t VALUES (1)') FROM unnest('{joined,two_phase}'::text[]) t},
	'transactions', after => $warm, allowed => $in_doubt);
each_fails($psql, 'libpq.so', q{DO $$ DECLARE s sessmgr.session := sessmgr.session_factory('remote'); i int; BEGIN
		i := sessmgr.begin_nested(s); PERFORM sessmgr.execute(s, 'INSERT INTO t VALUES (1)'); PERFORM sessmgr.rollback_to(s, i);
		PERFORM sessmgr.send(s, 'SELECT 1'); PERFORM * FROM sessmgr.receive(s) r(i int); PERFORM sessmgr.commit(s); END $$},
	'a session', before => $warm, after => $warm, allowed => $in_doubt);

done_testing();
