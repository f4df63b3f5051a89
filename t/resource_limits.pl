# Descriptors, connections, memory: what happens at the limit, and that nothing
# grows below it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Utils;
use SessmgrTest;
use Test::More;

my ($local, $remote) = new_pair();

sub new_psql
{
	my $psql = psql($local);
	# all that a first use opens
	$psql->value(q{SELECT sessmgr.scalar('remote', 'SELECT 1') FROM generate_series(1, 3)});
	$psql->value('SELECT sessmgr.reset()');
	return $psql;
}

# Opens sessions in one transaction until that fails; leaves it failed.
my $open_many = q{
	DO $$ DECLARE f sessmgr.sessionmaker :=
		(sessmgr.create_session('%s', options => '{"max_overflow": -1}')).factory;
	BEGIN
		FOR i IN 1..100 LOOP
			PERFORM sessmgr.begin(sessmgr.open(f));
		END LOOP;
	END $$};

# ---- out of descriptors, with an odd and an even number of them

foreach my $files (80, 83)
{
	my $name = "max_files_per_process $files";

	$local->append_conf('postgresql.conf', "max_files_per_process = $files");
	$local->restart;
	my $psql = new_psql();
	my $before = descriptors($psql->{pid});

	$psql->fails(sprintf($open_many, 'remote'), '53000', "$name: out of descriptors");
	$psql->is(q{SELECT sessmgr.scalar('remote', 'SELECT 1')}, 1, "$name: works again");
	$psql->value('SELECT sessmgr.reset()');
	is(descriptors($psql->{pid}), $before, "$name: none is left open");
	gone_soon($remote, '', "$name: nor over there");

	# many connections that are made at the same time
	$psql->is(sprintf(q{
		SELECT DISTINCT sqlstate FROM sessmgr.execute_all(
			ARRAY(SELECT format('postgresql:///postgres?host=%s&port=%s&application_name=sessmgr%%s', i)
			      FROM generate_series(1, 30) i), 'SELECT 1')
		 WHERE sqlstate <> '53300'}, $remote->host, $remote->port), '53000', "$name: many targets");
	$psql->value('SELECT sessmgr.reset()');
	is(descriptors($psql->{pid}), $before, "$name: none is left open after many targets");

	# a cancel must do with what there is
	$psql->value("SET statement_timeout = '2s'");
	$psql->fails(q{
		DO $$ DECLARE f sessmgr.sessionmaker :=
			(sessmgr.create_session('remote', options => '{"max_overflow": -1}')).factory;
			s sessmgr.session := sessmgr.open(f);
		BEGIN
			PERFORM sessmgr.begin(s);
			BEGIN
				LOOP PERFORM sessmgr.begin(sessmgr.open(f)); END LOOP;
			EXCEPTION WHEN insufficient_resources THEN NULL;
			END;
			PERFORM sessmgr.execute(s, 'SELECT pg_sleep(600) /* starved */');
		END $$}, '57014', "$name: canceled while out of descriptors");
	$psql->value('RESET statement_timeout');
	gone_soon($remote, 'starved', "$name: and gone there");
	$psql->is(q{SELECT sessmgr.scalar('remote', 'SELECT 1')}, 1, "$name: and works again");
	$psql->quit;
}

# ---- out of the system's descriptors, which are fewer than the server counts on

$local->append_conf('postgresql.conf', 'max_files_per_process = 1000');
$local->restart;
{
	my $targets = q{SELECT string_agg(DISTINCT coalesce(sqlstate, 'ok'), ' ') FROM sessmgr.execute_all('{remote,spi:,remote}', 'SELECT 1')};
	my %states;
	my $psql = new_psql();
	my ($limits) = `prlimit --pid $psql->{pid} --nofile --noheadings --raw --output SOFT`;
	chomp $limits;
	my %open = map { m{/(\d+)$}; $1 => 1 } glob("/proc/$psql->{pid}/fd/*");
	my @free = grep { !$open{$_} } 0 .. 500;

	# none is left, one, and so on
	foreach my $files (@free[ 0 .. 8 ])
	{
		foreach my $sql (q{SELECT sessmgr.scalar('remote', 'SELECT 1')}, $targets)
		{
			system("prlimit --pid $psql->{pid} --nofile=$files:") == 0 or die "prlimit failed";
			my ($out, $err, $state) = $psql->run($sql);
			note("$files: $out $err");
			$states{ $state || $out }++;
			system("prlimit --pid $psql->{pid} --nofile=$limits:") == 0 or die "prlimit failed";
			$psql->value('SELECT sessmgr.reset()');
		}
	}
	is(join(', ', grep { !/^(1|ok|53000|53000 ok)$/ } sort keys %states), '', "out of the system's descriptors");
	ok($states{53000} && $states{1} && $states{ok}, "and all of it happens");
	$psql->quit;
}

# ---- out of the target's connections

$remote->append_conf('postgresql.conf', "max_connections = 15\nsuperuser_reserved_connections = 2");
$_->restart foreach $local, $remote;
{
	my $psql = new_psql();
	my $before = descriptors($psql->{pid});

	$psql->fails(sprintf($open_many, 'remote'), '08001', 'out of connections over there');
	like($psql->{last_err}, qr/too many clients|remaining connection slots/, 'which is said');
	$psql->value('SELECT sessmgr.reset()');
	gone_soon($remote, '', 'out of connections: all are given back');
	is(descriptors($psql->{pid}), $before, 'out of connections: no descriptor is left');
	$psql->is(q{SELECT sessmgr.scalar('remote', 'SELECT 1')}, 1, 'out of connections: works again');
	$psql->quit;
}

# ---- 10,000 engines

{
	my $psql = new_psql();
	my $memory = 'SELECT sum(total_bytes)::bigint FROM pg_backend_memory_contexts';
	my $get = q{SELECT count(*) FROM (SELECT DISTINCT sessmgr.get_engine('host=db' || i || ' dbname=app') FROM generate_series(%s) i) e};

	$psql->value(sprintf($get, '1, 10'));
	my $before = $psql->value($memory);
	$psql->is(sprintf($get, '11, 10010'), 10000, '10,000 engines');
	my $each = ($psql->value($memory) - $before) / 10000;
	diag(sprintf('memory of an engine: %d bytes', $each));
	cmp_ok($each, '<', 3000, 'memory of an engine');
	$psql->is('SELECT count(*) FROM sessmgr.engines', 10010, 'all are there');
	$psql->value('SELECT sessmgr.reset()');
	my $after = $psql->value($memory);
	$psql->value(sprintf($get, '1, 10010'));
	$psql->value('SELECT sessmgr.reset()');
	cmp_ok($psql->value($memory) - $after, '<', 10000 * 300, 'a reset lets the next ones have it');
	$psql->quit;
}

# ---- many calls and sessions

{
	my $psql = new_psql();
	my $calls = q{DO $$ BEGIN FOR i IN 1..%d LOOP
		PERFORM sessmgr.scalar_as(NULL::int, 'remote', 'SELECT $1 + 1', i); END LOOP; END $$};
	my $sessions = q{DO $$ DECLARE f sessmgr.sessionmaker := (sessmgr.create_session('remote')).factory;
			s sessmgr.session;
		BEGIN FOR i IN 1..%d LOOP
			s := sessmgr.open(f);
			PERFORM sessmgr.execute(s, 'SELECT');
			IF i %% 2 = 0 THEN PERFORM sessmgr.commit(s); END IF;
			PERFORM sessmgr.close(s);
		END LOOP; END $$};
	my $errors = q{DO $$ BEGIN FOR i IN 1..%d LOOP
			BEGIN
				PERFORM sessmgr.execute('remote', 'SELECT 1/0 /* ' || i || ' */');
			EXCEPTION WHEN division_by_zero THEN NULL;
			END;
		END LOOP; END $$};

	$psql->value(sprintf($calls, 2000));
	$psql->value(sprintf($sessions, 100));
	$psql->value(sprintf($errors, 200));
	my ($rss, $fds) = (rss_kb($psql->{pid}), descriptors($psql->{pid}));
	foreach my $case ([ '100,000 calls', $calls, 100000 ], [ '1,000 sessions', $sessions, 1000 ],
		[ '1,000 errors', $errors, 1000 ])
	{
		my ($name, $sql, $n) = @$case;
		$psql->value(sprintf($sql, $n));
		note(sprintf('%s: %.1f s', $name, $psql->{seconds}));
		my $grown = rss_kb($psql->{pid}) - $rss;
		grew_less($grown, 4000, "$name: memory has not grown ($grown kB)");
		is(descriptors($psql->{pid}), $fds, "$name: nor the number of descriptors");
	}
	$psql->is('SELECT connects, idle, checked_out FROM sessmgr.engines', '1|1|0', 'with one connection');
	$psql->quit;
}

# ---- large values

SKIP:
{
	my ($available) = slurp_file('/proc/meminfo') =~ /^MemAvailable:\s+(\d+)/m;
	skip("large values need 8 GB of free memory, there are $available kB", 7)
	  if !$available || $available < 8_000_000;

	my $psql = new_psql();
	foreach my $mb (25, 50, 100)
	{
		$psql->is(
			qq{SELECT length(sessmgr.scalar('remote', 'SELECT \$1 || ''y''', repeat('x', ${mb}000000)))},
			"${mb}000001", "$mb MB there and back");
		note(sprintf('%.1f s', $psql->{seconds}));
	}
	$psql->is(
		q{SELECT length(sessmgr.scalar('remote', 'SELECT repeat(''x'', $1)', 300000000))},
		300000000, '300 MB back');
	note(sprintf('%.1f s', $psql->{seconds}));
	$psql->run(q{SELECT length(sessmgr.scalar('remote',
		'SELECT repeat(''x'', $1) || repeat(''y'', $1)', 600000000))});
	like($psql->{last_state}, qr/^(?:54000|XX000)$/, 'a value that is too large');
	note($psql->{last_err});
	$psql->is(q{SELECT length(sessmgr.scalar_as(NULL::bytea, 'remote', 'SELECT $1',
		convert_to(repeat('x', 100000000), 'UTF8')))}, 100000000, '100 MB there and back in binary form');
	new_server($local, $remote, 'as_text', q{binary 'off'});
	$psql->run(q{SELECT length(sessmgr.scalar_as(NULL::bytea, 'as_text', 'SELECT $1',
		convert_to(repeat('x', 600000000), 'UTF8')))});
	like($psql->{last_state}, qr/^(?:54000|XX000)$/, 'a text form that is too large');
	note($psql->{last_err});
	$psql->is(qq{SELECT sessmgr.scalar('$_', 'SELECT 1')}, 1, "$_ works again") foreach qw(remote as_text);
	$psql->quit;
}

$local->stop;
$remote->stop;
done_testing();
