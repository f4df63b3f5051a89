# A process forked from a backend: it starts empty, can make connections of its
# own, and leaves those of its parent alone.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use SessmgrTest;
use Test::More;

# dev/test has built and installed the module; with make installcheck alone it
# may not be there
my ($local, $remote) =
  new_pair(remote => "log_connections = on\nlog_disconnections = on\n");
my ($failed, undef, $why) = $local->psql('postgres', q{
	CREATE FUNCTION fork_and_run(sql text, callbacks boolean) RETURNS text
		AS '$libdir/forktest' LANGUAGE c STRICT});
plan(skip_all => "t/forktest is not installed: $why") if $failed;

$remote->safe_psql('postgres', 'CREATE TABLE t (id text)');

my $s = q{:'s'::sessmgr.session};
my $counts = q{SELECT concat_ws('/', (SELECT count(*) FROM sessmgr.engines),
	(SELECT count(*) FROM sessmgr.sessions), (SELECT count(*) FROM sessmgr.connections),
	sessmgr.forked())};
my $pid_of = q{SELECT sessmgr.scalar('remote', 'SELECT pg_backend_pid()')};

foreach my $callbacks ('false', 'true')
{
	my $name = $callbacks eq 'true' ? 'with exit callbacks' : 'without exit callbacks';
	my $psql = psql($local);
	my $offset = -s $remote->logfile;
	my ($mine, $held, $theirs);

	# Runs it in the child, after the parent has taken the locks for it.
	my $in_child = sub {
		my ($sql, $same_locks) = @_;
		$psql->value('BEGIN');
		$psql->run($same_locks // $sql);
		$psql->run('ROLLBACK; BEGIN') if $psql->{last_state} ne '';
		my $result = $psql->value("SELECT fork_and_run(\$sql\$$sql\$sql\$, $callbacks)");
		$psql->value('COMMIT');
		return $result;
	};

	# loaded first, so that sessmgr's exit callback comes before its own
	$psql->value(q{LOAD '$libdir/forktest'});
	$psql->open('s', 'remote');
	$psql->value("SELECT sessmgr.execute($s, 'INSERT INTO t VALUES (''$name'')')");
	$held = $psql->value('SELECT remote_pid FROM sessmgr.sessions');
	$mine = $psql->value($pid_of);
	$psql->value("SELECT set_config('test.s', $s" . '::text, false)');
	isnt($mine, $held, "$name: two connections");

	is($in_child->($counts), '0/0/0/t', "$name: the child starts empty");
	like($in_child->(q{SELECT sessmgr.scalar(current_setting('test.s')::sessmgr.session, 'SELECT 1')}),
		qr/^22023: .*not made by this backend/, "$name: its parent's session is not its own");
	$theirs = $in_child->($pid_of);
	like($theirs, qr/^\d+$/, "$name: the child can connect");
	ok($theirs ne $mine && $theirs ne $held, "$name: with a connection of its own");
	like($in_child->(q{SELECT sessmgr.execute('remote', 'INSERT INTO t VALUES (''child'')')}),
		qr/^1$/, "$name: and write");
	like($in_child->(q{SELECT sessmgr.execute('remote', 'SELECT 1/0')}),
		qr/^22012: /, "$name: and fail");
	is($in_child->(q{SELECT sessmgr.reset()}, 'SELECT 1'), '', "$name: and reset");

	$psql->is($pid_of, $mine, "$name: the parent's connection is as it was");
	$psql->is("SELECT sessmgr.scalar($s, 'SELECT pg_backend_pid()')", $held,
		"$name: and its session's");
	$psql->is('SELECT count(*) FROM sessmgr.connections', 2, "$name: it has both");
	$psql->value("SET statement_timeout = '1s'");
	$psql->fails(q{SELECT sessmgr.scalar('remote', 'SELECT pg_sleep(600)')}, '57014',
		"$name: waiting works");
	$psql->value('RESET statement_timeout');
	$psql->is($pid_of, $mine, "$name: and a cancel");
	$psql->value("SELECT sessmgr.commit($s)");
	is($remote->safe_psql('postgres', "SELECT count(*) FROM t WHERE id = '$name'"), 1,
		"$name: the parent's session commits");
	unlike(log_since($remote, $offset), qr/\[(?:$mine|$held)\] .*(?:disconnection|EOF|connection to client lost)/,
		"$name: the remote server has seen no end of the parent's connections");
	$psql->quit;
	gone_soon($remote, '', "$name: nothing is left");

	# with the callbacks the child's connections end properly, too
	my $eofs = () = log_since($remote, $offset) =~ /unexpected EOF|Connection reset/g;
	is($eofs, 0, "$name: all connections ended properly") if $callbacks eq 'true';
}

is($remote->safe_psql('postgres', q{SELECT count(*) FROM t WHERE id = 'child'}) > 0, 1,
	'what the children wrote is there');
$local->stop;
$remote->stop;
done_testing();
