# The end of a backend with everything open: whatever it held on the target is
# canceled, rolled back and ended properly.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use SessmgrTest;
use Test::More;

my ($local, $remote) =
  new_pair(remote => "log_connections = on\nlog_disconnections = on\n");
$remote->safe_psql('postgres', 'CREATE TABLE t (id text)');
my $admin = psql($local);

# A backend with a pool, sessions of each kind, and one that is aborted.
sub open_all
{
	my $psql = psql($local);

	foreach my $session ('a', 'b', 'c')
	{
		$psql->open($session, 'remote');
		$psql->value("SELECT sessmgr.execute(:'$session'::sessmgr.session, 'INSERT INTO t VALUES (''$session'')')");
	}
	$psql->value(q{SELECT sessmgr.commit(:'c'::sessmgr.session)});
	$psql->value(q{SELECT sessmgr.begin_nested(:'b'::sessmgr.session)});
	$psql->value(q{SELECT sessmgr.scalar('remote', 'SELECT 1')});
	$psql->value(q{SELECT sessmgr.get_engine('loopback:')});
	$psql->is('SELECT count(*), count(session) FROM sessmgr.connections', '3|2', 'all are open');
	return $psql;
}

# How the backend ends: quit
my %ending = (
	quit => sub { $_[0]->quit },
	'quit in a transaction' => sub {
		my ($psql) = @_;
		$psql->value('BEGIN');
		$psql->value(q{SELECT sessmgr.execute(:'a'::sessmgr.session, 'INSERT INTO t VALUES (''a'')')});
		$psql->quit;
	},
	terminated => sub {
		my ($psql) = @_;
		$admin->value("SELECT pg_terminate_backend($psql->{pid})");
		$psql->kill_client;
	},
	'terminated while a statement runs' => sub {
		my ($psql) = @_;
		$psql->start(q{SELECT sessmgr.execute(:'a'::sessmgr.session, 'SELECT pg_sleep(600) /* runs */')});
		ok(wait_for(sub { remote_running($remote, 'runs') }), 'it runs');
		$admin->value("SELECT pg_terminate_backend($psql->{pid})");
		$psql->fails(undef, '57P01', 'it is terminated');
		$psql->kill_client;
	},
	'terminated while a call runs' => sub {
		my ($psql) = @_;
		$psql->start(q{SELECT sessmgr.execute('remote', 'INSERT INTO t SELECT ''d'' FROM pg_sleep(600) /* runs */')});
		ok(wait_for(sub { remote_running($remote, 'runs') }), 'it runs');
		$admin->value("SELECT pg_terminate_backend($psql->{pid})");
		$psql->fails(undef, '57P01', 'it is terminated');
		$psql->kill_client;
	},
	FATAL => sub {
		my ($psql) = @_;
		$psql->value('BEGIN');
		$psql->value(q{SELECT sessmgr.execute(:'a'::sessmgr.session, 'INSERT INTO t VALUES (''a'')')});
		$psql->run(q{SET idle_in_transaction_session_timeout = '100ms'});
		ok( wait_for(
				sub { $admin->value("SELECT count(*) FROM pg_stat_activity WHERE pid = $psql->{pid}") == 0 }),
			'FATAL: it has ended');
		$psql->kill_client;
	},
	'the client is killed' => sub { $_[0]->kill_client },);

foreach my $name (sort keys %ending)
{
	my $offset = -s $remote->logfile;
	my ($log, @begun, @ended);

	$ending{$name}->(open_all());
	gone_soon($remote, '', "$name: all connections are gone");
	wait_for(
		sub {
			$log = log_since($remote, $offset);
			@begun = $log =~ /application_name=sessmgr/g;
			@ended = $log =~ /\] sessmgr LOG:  disconnection:/g;
			@begun == @ended;
		});
	is(scalar(@ended), scalar(@begun), "$name: each connection has ended");
	cmp_ok(scalar(@begun), '>=', 3, "$name: and there were some");
	unlike($log, qr/unexpected EOF|Connection reset|connection to client lost|Broken pipe/,
		"$name: properly");
	is($remote->safe_psql('postgres', q{SELECT string_agg(id, '') FROM t}), 'c',
		"$name: only what was committed is there");
	$remote->safe_psql('postgres', 'TRUNCATE t');
}

# the whole server ends
{
	my $psql = open_all();
	$local->stop('fast');
	gone_soon($remote, '', 'server shut down: all connections are gone');
	unlike(log_since($remote), qr/unexpected EOF|Connection reset|connection to client lost/,
		'server shut down: properly');
	$_->kill_client foreach $psql, $admin;
}
$remote->stop;
done_testing();
