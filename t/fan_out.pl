# Statements on many targets at the same time: dead, stopped, refused, slow and
# healthy ones among 64; cancels, and backends that are killed.  What is reported
# is compared with what has happened.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use IO::Socket::INET;
use PostgreSQL::Test::Utils;
use SessmgrTest;
use Test::More;
use Time::HiRes qw(time);

my ($local, $remote) = new_pair(
	remote => "max_connections = 100\nmax_prepared_transactions = 10\n",
	local => "restart_after_crash = on\n");
my $stopped = new_node('stopped');
$_->safe_psql('postgres', 'CREATE TABLE t (server text, id text)') foreach $remote, $stopped;

# listens, and lets the kernel accept, but never answers
my $silent = IO::Socket::INET->new(Listen => 10, LocalAddr => '127.0.0.1', Proto => 'tcp')
  or die "could not listen: $!";
# nobody listens here, nor will while this socket is bound
my $refused = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Proto => 'tcp')
  or die "could not bind: $!";

# 56 healthy ones, told apart by their application_name, and 8 that are not
my (@good, %bad);
foreach my $i (1 .. 56)
{
	push @good, "good$i";
	new_server($local, $remote, "good$i", "application_name 'good$i', cleanup_timeout '5s'");
}
new_server($local, $remote, 'slow', "application_name 'slow', statement_timeout '2s', cleanup_timeout '5s'");
# the same, and does not end by itself
new_server($local, $remote, 'asleep', "application_name 'slow', cleanup_timeout '5s'");
new_server($local, $remote, 'nodb', "connect_timeout '5'");
$local->safe_psql('postgres', "ALTER SERVER nodb OPTIONS (SET dbname 'nosuch')");
foreach my $port ($silent->sockport, $refused->sockport)
{
	my $name = $port == $silent->sockport ? 'silent' : 'refused';
	$local->safe_psql('postgres', qq{
		CREATE SERVER $name FOREIGN DATA WRAPPER sessmgr
			OPTIONS (host '127.0.0.1', port '$port', dbname 'postgres', connect_timeout '2');
		CREATE USER MAPPING FOR CURRENT_USER SERVER $name});
}
# stopped with an idle connection in the pool, and without one; and pinged
new_server($local, $stopped, 'frozen', "statement_timeout '2s', cleanup_timeout '1s', application_name 'frozen'");
new_server($local, $stopped, 'unborn', "connect_timeout '2'");
new_server($local, $stopped, 'pinged', "connect_timeout '1', pool_pre_ping 'true'");
%bad = (
	slow => '57014', nodb => '08001', silent => '08001', refused => '08001',
	frozen => '08007', unborn => '08001', pinged => '08001', nosuch => '42704');
my @all = (@good[0 .. 19], sort(keys %bad), @good[20 .. 55]);
is(scalar(@all), 64, '64 targets');
my $array = "'{" . join(',', @all) . "}'";

# inserts its row and, where it is to be slow, sleeps
sub insert
{
	my ($id) = @_;
	return qq{'INSERT INTO t SELECT current_setting(''application_name''), ''$id'' FROM
		pg_sleep(CASE current_setting(''application_name'') WHEN ''slow'' THEN 600 ELSE 0 END)'};
}

# the servers whose row is there
sub inserted
{
	my ($id) = @_;
	return $remote->safe_psql('postgres', "SELECT server FROM t WHERE id = '$id' ORDER BY server");
}

# the whole server that is to be stopped; some of it may be about to end
my @frozen;
sub freeze
{
	my $postmaster = $stopped->{_pid};
	my @children = children_at_last($postmaster);
	@frozen = ($postmaster, grep { eval { stop_process($_); 1 } } @children);
}
sub thaw { continue_process(@frozen); }

# process ids of what runs there with this text, whatever its application_name
sub running
{
	my ($text) = @_;
	return split(/\n/, $remote->safe_psql('postgres',
			"SELECT pid FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%$text%' AND pid <> pg_backend_pid()"));
}
sub ends
{
	my ($text, $name) = @_;
	return ok(wait_for(sub { !running($text) }, 30), $name);
}

sub lines { return join("\n", sort @_); }

# ---- execute_all: each in its own time

my $psql = psql($local);
$psql->value(q{SELECT * FROM sessmgr.execute_all('{frozen,pinged}', 'SELECT 1')});
my $descriptors = descriptors($psql->{pid});
freeze();

{
	my $start = time();
	my $out = $psql->value("SELECT target, rows, sqlstate FROM sessmgr.execute_all($array, @{[insert('one')]})");
	note(sprintf('64 targets: %.1f s', time() - $start));
	my @rows = split(/\n/, $out);
	is(join(',', map { (split /\|/)[0] } @rows), join(',', @all), 'one row for each, in the order of the array');
	my %state = map { my @f = split(/\|/, $_, -1); ($f[0] => $f[2]) } @rows;
	is_deeply({ map { $_ => $state{$_} } keys %bad }, \%bad, 'what is wrong with each that fails');
	is(lines(grep { $state{$_} eq '' } @all), lines(@good), 'all others are done');
	is(inserted('one'), lines(@good), 'and so it is');
	# one after the other it would be at least the sum of their timeouts
	ends('pg_sleep', 'the slow one was canceled there');
}
$psql->is('SELECT coalesce(sum(checked_out), 0) FROM sessmgr.engines', 0, 'no connection is left out');
$psql->value('SELECT sessmgr.reset()');
cmp_ok(descriptors($psql->{pid}), '<=', $descriptors, 'no descriptor is left open');

# ---- query_all: the first error ends all of them

$psql->fails("SELECT * FROM sessmgr.query_all($array, 'INSERT INTO t VALUES (current_setting(''application_name''), ''two'') RETURNING 1') AS t(target text, a int)",
	'42704', 'query_all: a server that is not there');
{
	my $some = "'{" . join(',', @good, 'refused') . "}'";
	$psql->fails("SELECT * FROM sessmgr.query_all($some, 'INSERT INTO t VALUES (current_setting(''application_name''), ''two'') RETURNING 1') AS t(target text, a int)",
		'08001', 'query_all: one refuses');
	like($psql->{last_err}, qr/^(?:CONTEXT:  )?target 57 of 57$/m, 'the context tells which');
	my $silent = "'{" . join(',', @good, 'frozen', 'silent', 'unborn') . "}'";
	$psql->fails("SELECT * FROM sessmgr.query_all($silent, 'INSERT INTO t VALUES (current_setting(''application_name''), ''two'') RETURNING 1') AS t(target text, a int)",
		'08001', 'query_all: some do not answer');
	is(inserted('two'), '', 'nothing was done anywhere');
	my $good = "'{" . join(',', @good) . "}'";
	$psql->is("SELECT count(*), count(DISTINCT target) FROM sessmgr.query_all($good, 'INSERT INTO t VALUES (current_setting(''application_name''), ''three'') RETURNING 1') AS t(target text, a int)",
		'56|56', 'query_all: all of them');
	is(inserted('three'), lines(@good), 'and so it is');
}

# ---- a cancel: the truth of each

{
	my $targets = "'{good1,asleep,good2,silent,frozen}'";
	$psql->value("SELECT sessmgr.reset()");
	thaw();
	$psql->value(q{SELECT * FROM sessmgr.execute_all('{frozen}', 'SELECT 1')});
	freeze();
	$psql->start("SELECT * FROM sessmgr.execute_all($targets, @{[insert('cancel')]})");
	ok(wait_for(sub { inserted('cancel') eq "good1\ngood2" && running('pg_sleep') }), 'cancel: some are done, one runs');
	psql($local)->value("SELECT pg_cancel_backend($psql->{pid})");
	$psql->fails(undef, '08007', 'cancel: some last');
	like($psql->{last_err}, qr/"good1": done\ntarget 3, "good2": done\ntarget 5, "frozen": may be done\n/, 'the detail names them');
	ends('pg_sleep', 'what ran is gone');

	# nothing that lasts
	$psql->start(q{SELECT * FROM sessmgr.execute_all('{asleep,silent,asleep}', } . insert('cancel2') . ')');
	ok(wait_for(sub { running('cancel2') == 2 }), 'cancel: two run');
	psql($local)->value("SELECT pg_cancel_backend($psql->{pid})");
	$psql->fails(undef, '57014', 'cancel: nothing lasts');
	$psql->start(q{SELECT * FROM sessmgr.query_all('{good1,asleep}', } . insert('cancel3') =~ s/'$/ RETURNING 1'/r . ') AS t(target text, a int)');
	ok(wait_for(sub { running('cancel3') }), 'cancel: query_all runs');
	psql($local)->value("SELECT pg_cancel_backend($psql->{pid})");
	$psql->fails(undef, '57014', 'cancel: query_all never lasts');
	is(inserted('cancel2') . inserted('cancel3'), '', 'and nothing does');
	ends('pg_sleep', 'what ran is gone');
	$psql->is(q{SELECT count(*) FROM sessmgr.execute_all('{good1,asleep,good2}', 'SELECT 1') WHERE error IS NULL}, 3, 'all is usable again');
	$psql->is('SELECT coalesce(sum(checked_out), 0) FROM sessmgr.engines', 0, 'no connection is left out');
}
$psql->quit;

# ---- part of the local transaction, also by two-phase commit

foreach my $mode ('joined', 'two_phase')
{
	my $psql = psql($local);
	new_server($local, $remote, "$mode$_", "application_name '$mode$_', transaction '$mode'") foreach 1, 2;
	my $all = "'{${mode}1,${mode}2,${mode}1}'";
	$psql->value('BEGIN');
	$psql->is("SELECT string_agg(concat_ws(',', target, rows, sqlstate), ' ') FROM sessmgr.execute_all($all, @{[insert($mode)]})",
		"${mode}1,1 ${mode}2,1 ${mode}1,1", "$mode: all are done");
	is(inserted($mode), '', "$mode: but not committed");
	$psql->value('COMMIT');
	is(inserted($mode), "${mode}1\n${mode}1\n${mode}2", "$mode: before the local transaction is");
	$psql->value('BEGIN');
	my $returning = insert("$mode 2") =~ s/'$/ RETURNING 1'/r;
	$psql->is("SELECT count(*) FROM sessmgr.query_all($all, $returning) AS t(target text, a int)", 3, "$mode: query_all");
	$psql->value('ROLLBACK');
	is(inserted("$mode 2"), '', "$mode: rolled back with it");
	$psql->quit;
}
is($remote->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts'), 0, 'nothing is left prepared');

# ---- a backend that is terminated, or killed

foreach my $how ('terminate', 'client', 'kill')
{
	foreach my $function ('execute_all', 'send')
	{
		my $id = "${how}_$function";
		my $victim = psql($local);
		if ($function eq 'send')
		{
			$victim->open('s', 'good1', '{"hold": true}');
			$victim->open('a', 'good2', '{"hold": true, "transaction": "autocommit"}');
			$victim->value("SELECT sessmgr.send(:'$_', 'INSERT INTO t SELECT ''x'', ''$id'' FROM pg_sleep(600)')") foreach 's', 'a';
		}
		else
		{
			$victim->start(qq{SELECT * FROM sessmgr.execute_all('{good1,good2}', 'INSERT INTO t SELECT ''x'', ''$id'' FROM pg_sleep(600)')});
		}
		ok(wait_for(sub { running($id) == 2 }), "$id: both run");
		if ($how eq 'terminate') { psql($local)->value("SELECT pg_terminate_backend($victim->{pid})"); }
		elsif ($how eq 'client') { $victim->kill_client; }
		else { kill('KILL', $victim->{pid}); }
		ends($id, "$id: nothing runs on");
		is(inserted($id), '', "$id: and nothing was done");
		crashed_and_back($local, $victim->{pid}) if $how eq 'kill';
	}
}

# ---- a connection that is lost while a statement is sent, and not received

foreach my $mode ('manual', 'autocommit')
{
	my $psql = psql($local);
	$psql->open('s', 'good1', qq({"hold": true, "transaction": "$mode"}));
	$psql->value("SELECT sessmgr.send(:'s', 'SELECT pg_sleep(600)')");
	my $pid;
	ok(wait_for(sub { ($pid) = running('pg_sleep') }), "$mode: it runs");
	# a message that says so, or none at all
	$remote->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	$psql->is("SELECT sessmgr.wait_any(ARRAY[:'s']::sessmgr.session[])::text = :'s'", 't', "$mode: the loss ends a wait");
	$psql->fails("SELECT * FROM sessmgr.receive(:'s') AS t(a text)", '08006', "$mode: the server has said why");
	$psql->is("SELECT count(*) FROM sessmgr.sessions WHERE state = 'sent'", 0, "$mode: nothing is waited for any more");
	$psql->value("SELECT sessmgr.rollback(:'s')");
	$psql->value("SELECT sessmgr.send(:'s', 'SELECT 7')");
	$psql->is("SELECT * FROM sessmgr.receive(:'s') AS t(a int)", 7, "$mode: it is usable again");

	# a server that does not answer a cancel
	$psql->open('f', 'frozen', qq({"hold": true, "transaction": "$mode"}));
	thaw();
	$psql->value("SELECT sessmgr.send(:'f', 'SELECT pg_sleep(600)')");
	freeze();
	$psql->fails("SELECT sessmgr.cancel(:'f')", $mode eq 'manual' ? '08006' : '08007', "$mode: a cancel is not answered");
	$psql->is("SELECT sessmgr.is_busy(:'f')", 'f', "$mode: nothing is sent any more");
	$psql->quit;
}
thaw();

# ---- constant memory: rows stay where they are until they are received

{
	my $psql = psql($local);
	$psql->open('s', 'good1');
	$psql->value("SELECT sessmgr.send(:'s', 'SELECT n, repeat(''x'', 1000) FROM generate_series(1, 300000) n')");
	$psql->value("SELECT sessmgr.is_busy(:'s') FROM generate_series(1, 3)");
	my $before = rss_kb($psql->{pid});
	$psql->value("SELECT sessmgr.is_busy(:'s') FROM generate_series(1, 100000)");
	grew_less(rss_kb($psql->{pid}) - $before, 16384, 'looking does not collect rows');
	$psql->is("SELECT count(*) FROM sessmgr.receive(:'s') AS t(n int, x text)", 300000, 'all of them are received');
	grew_less(rss_kb($psql->{pid}) - $before, 65536, 'and receiving keeps them on disk');
	$psql->quit;
}

# ---- rows that keep coming hold up neither the others nor a cancel

{
	my $psql = psql($local);
	$psql->value("SET statement_timeout = '1s'");
	foreach my $function ('query_all', 'execute_all')
	{
		my $as = $function eq 'query_all' ? 'AS t(target text, n bigint)' : '';
		$psql->fails("SELECT count(*) FROM sessmgr.$function('{good1,good2}', 'SELECT n FROM generate_series(1, 100000000000) n') $as",
			'57014', "$function: an endless result is canceled");
	}
	ends('generate_series', 'and ends over there');
	$psql->quit;
}

done_testing();
