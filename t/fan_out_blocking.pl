# Statements on many targets, and those that are sent and received later, where
# something blocks that is not the target's fault: an answer that is there is not
# late because it is looked at late.  And what a target must not hold up.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use POSIX ();
use SessmgrTest;
use Test::More;
use Time::HiRes qw(time);

my ($local, $remote) = new_pair(remote => "max_connections = 60\n");
$remote->safe_psql('postgres', 'CREATE TABLE t (server text, id text)');

# ---- a proxy that takes a DISCARD ALL, and never answers it

my $listener = IO::Socket::INET->new(Listen => 20, LocalAddr => '127.0.0.1')
  or die "could not listen: $!";
my $target = $remote->host . '/.s.PGSQL.' . $remote->port;

sub serve
{
	my ($client) = @_;
	my $server = IO::Socket::UNIX->new(Peer => $target) or return;
	my $select = IO::Select->new($client, $server);
	while (1)
	{
		foreach my $from ($select->can_read)
		{
			sysread($from, my $data, 65536) or return;
			next if $from == $client && $data =~ /DISCARD ALL/;
			put_all($from == $client ? $server : $client, $data) or return;
		}
	}
}

my $proxy = fork();
die "could not fork: $!" unless defined $proxy;
if ($proxy == 0)
{
	$SIG{CHLD} = $SIG{PIPE} = 'IGNORE';
	while (1)
	{
		my $client = $listener->accept or next;
		next if fork();
		serve($client);
		POSIX::_exit(0);
	}
}
END { my $status = $?; kill('TERM', $proxy) if $proxy; $? = $status; }

sub behind_proxy
{
	my ($name, $cleanup) = @_;
	my $port = $listener->sockport;
	$local->safe_psql('postgres', qq{
		CREATE SERVER $name FOREIGN DATA WRAPPER sessmgr
			OPTIONS (host '127.0.0.1', port '$port', dbname 'postgres', sslmode 'disable',
				application_name '$name', pool_reset_on_return 'discard', cleanup_timeout '$cleanup');
		CREATE USER MAPPING FOR CURRENT_USER SERVER $name});
}

# process ids of a server's sessions there, by application_name
sub there
{
	my ($name, $where) = @_;
	return split(/\n/, $remote->safe_psql('postgres',
			"SELECT pid FROM pg_stat_activity WHERE application_name = '$name'" . ($where ? " AND $where" : '')));
}

sub inserted
{
	my ($id) = @_;
	return $remote->safe_psql('postgres', "SELECT count(*) FROM t WHERE id = '$id'");
}

# ---- spi: takes longer than the others may (to be continued)

new_server($local, $remote, $_, "application_name '$_', connect_timeout '7', statement_timeout '7s'")
  foreach 'warm', 'cold', 'endless';
my $statement = q{'SELECT n FROM pg_sleep(CASE WHEN current_setting(''application_name'') IN (''cold'', ''warm'', ''endless'') THEN 0 ELSE 8 END),
	generate_series(1, CASE current_setting(''application_name'') WHEN ''endless'' THEN 100000000000 ELSE 3000 END) n'};

my $execute = psql($local);
my $query = psql($local);
$execute->value(q{SELECT * FROM sessmgr.execute_all('{warm,endless}', 'SELECT 1')});
$execute->start("SELECT target, rows, sqlstate FROM sessmgr.execute_all('{spi:,cold,warm,endless}', $statement)");
$query->start("SELECT target, count(*) FROM sessmgr.query_all('{spi:,cold,warm}', $statement) AS t(target text, n bigint) GROUP BY 1 ORDER BY 1");

# ---- what was sent, and is received only after its timeout (to be continued)

new_server($local, $remote, 'sent', "application_name 'sent', statement_timeout '7s'");
my $late = psql($local);
foreach my $mode ('manual', 'autocommit')
{
	$late->open($mode, 'sent', qq({"hold": true, "transaction": "$mode"}));
	$late->value("SELECT sessmgr.send(:'$mode', 'SELECT n FROM generate_series(1, 3000) n')");
}
$late->open('endless', 'sent', '{"hold": true}');
$late->value(q{SELECT sessmgr.send(:'endless', 'SELECT n FROM generate_series(1, 100000000000) n')});
ok(wait_for(sub { there('sent', q{state IN ('idle', 'idle in transaction')}) == 2 }), 'sent: two have ended there');
$late->start('SELECT pg_sleep(7.1)');

# ---- a cancel that is not answered, where the statement's own time ends with it

{
	new_server($local, $remote, 'stuck', "application_name 'stuck', statement_timeout '5s', cleanup_timeout '5s'");
	my %psql;
	foreach my $mode ('manual', 'autocommit')
	{
		$psql{$mode} = psql($local);
		$psql{$mode}->open('s', 'stuck', qq({"hold": true, "transaction": "$mode"}));
		$psql{$mode}->value(q{SELECT sessmgr.send(:'s', 'SELECT pg_sleep(600)')});
	}
	my @pids = there('stuck');
	is(scalar(@pids), 2, 'cancel: both are there');
	stop_process(@pids);
	$_->start(q{SELECT sessmgr.cancel(:'s')}) foreach values %psql;
	$psql{manual}->fails(undef, '08006', 'cancel: without an answer');
	$psql{autocommit}->fails(undef, '08007', 'cancel: nor here, where it may last');
	foreach (values %psql)
	{
		$_->is(q{SELECT sessmgr.is_busy(:'s')}, 'f', 'cancel: nothing is sent any more');
		$_->quit;
	}
	continue_process(@pids);
}

# ---- connections that go back to their pools hold up nothing

{
	my @slow = map { "slow$_" } 1 .. 8;
	behind_proxy($_, '3s') foreach @slow;
	behind_proxy('hung', '600s');
	new_server($local, $remote, 'good', "application_name 'good'");
	my $psql = psql($local);
	my $insert = q{INSERT INTO t VALUES (current_setting(''application_name''), ''%s'')};
	my $start = time();
	$psql->is(sprintf("SELECT count(*), count(error), sum(rows) FROM sessmgr.execute_all('{%s}', '$insert')",
			join(',', @slow, 'good'), 'back'), '9|0|9', 'check-in: all are done');
	# one after the other it would be 24 s
	cmp_ok(time() - $start, '<', 20, 'check-in: at the same time');
	is(inserted('back'), 9, 'check-in: and so it is');
	# an error, too, gives its connection back
	$start = time();
	$psql->is(sprintf(q{SELECT count(*), min(sqlstate), max(sqlstate) FROM sessmgr.execute_all('{%s}', 'SELECT 1 / 0')},
			join(',', @slow, 'good')), '9|22012|22012', 'check-in: all have failed');
	cmp_ok(time() - $start, '<', 20, 'check-in: at the same time, too');
	$psql->is(q{SELECT string_agg(target || ' ' || sqlstate, ',') FROM sessmgr.execute_all('{slow1,good}', 'BEGIN')},
		'slow1 2D000,good 2D000', 'check-in: transaction control is noticed');

	$psql->start(sprintf("SELECT * FROM sessmgr.execute_all('{hung,good}', '$insert')", 'hung'));
	ok(wait_for(sub { inserted('hung') == 2 }), 'check-in: it is done');
	psql($local)->value("SELECT pg_cancel_backend($psql->{pid})");
	$psql->fails(undef, '08007', 'check-in: can be canceled');
	like($psql->{last_err}, qr/target 1, "hung": done\ntarget 2, "good": done\n/, 'check-in: and what lasts is told');
	$psql->is('SELECT coalesce(sum(checked_out), 0) FROM sessmgr.engines', 0, 'check-in: no connection is left out');
	$psql->quit;
}

# ---- a client that does not read what a target has to say

{
	my ($gate, $admin, $deaf) = (psql($local), psql($local), psql($local));
	$gate->value('SELECT pg_advisory_lock(7)');
	$deaf->start(q{SELECT pg_advisory_lock(7) \; SELECT * FROM sessmgr.execute_all('{good}',
		'DO $$ BEGIN FOR i IN 1 .. 900 LOOP RAISE NOTICE ''%'', repeat(''x'', 20000); END LOOP; END $$')});
	my $backend = "FROM pg_stat_activity WHERE pid = $deaf->{pid}";
	ok(wait_for(sub { $admin->value("SELECT wait_event_type $backend") eq 'Lock' }), 'notices: it has begun');
	stop_process($deaf->{psql});
	$gate->value('SELECT pg_advisory_unlock(7)');
	ok(wait_for(sub { $admin->value("SELECT wait_event $backend") eq 'ClientWrite' }), 'notices: they are not read');
	$admin->value("SELECT pg_terminate_backend($deaf->{pid})");
	ok(wait_for(sub { $admin->value("SELECT count(*) $backend") == 0 }, 60), 'notices: the backend can be terminated');
	continue_process($deaf->{psql});
	$deaf->finish;
	$_->quit foreach $gate, $admin, $deaf;
}

# ---- what has come in time is not late because it is received late

$late->finish;
$late->is("SELECT count(*) FROM sessmgr.receive(:'$_') AS t(n bigint)", 3000, "sent: an answer in time ($_)")
  foreach 'manual', 'autocommit';
$late->fails(q{SELECT count(*) FROM sessmgr.receive(:'endless') AS t(n bigint)}, '57014',
	'sent: rows that keep coming are late');

# ---- nor because spi: has kept the others waiting

$execute->finish;
is($execute->{last_out}, "spi:|3000|\ncold|3000|\nwarm|3000|\nendless||57014",
	'execute_all: spi: takes no time from the others');
$query->finish;
is($query->{last_out}, "cold|3000\nspi:|3000\nwarm|3000", 'query_all: nor here') or diag($query->{last_err});

$_->quit foreach $execute, $query, $late;
done_testing();
