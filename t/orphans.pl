# However a local statement, transaction, client or backend ends, and whatever
# sessmgr is doing then: soon no statement runs on the target, no transaction is
# open and no lock held there, and nothing has been changed.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use SessmgrTest;
use Test::More;
use Time::HiRes qw(time);

# the target may take 2 s, or 3 s after the local backend was killed outright;
# the rest is for a noisy machine
my $slack = 10;

my ($local, $remote) = new_pair(
	local => "restart_after_crash = on\nclient_connection_check_interval = '500ms'\n");
$remote->safe_psql('postgres', q{
	CREATE TABLE t (id text);
	CREATE TABLE kept AS SELECT 0 AS value});
my $there = psql($remote);
my $holder = psql($remote);
my $admin = psql($local);

my $active = q{SELECT count(*) FROM pg_stat_activity
	WHERE application_name = 'sessmgr' AND state = 'active' AND query LIKE '%%%s%%'};
my $waits = q{SELECT count(*) FROM pg_stat_activity
	WHERE application_name = 'sessmgr' AND wait_event_type = 'Lock'};
my $orphans = q{
	SELECT string_agg(concat_ws(' ', state, query, locks), '; ')
	FROM pg_stat_activity a,
		LATERAL (SELECT string_agg(mode, ',') AS locks FROM pg_locks l WHERE l.pid = a.pid) l
	WHERE application_name = 'sessmgr' AND
		(state <> 'idle' OR xact_start IS NOT NULL OR locks IS NOT NULL)};

sub in_session { return "SELECT sessmgr.execute(:'s'::sessmgr.session, '$_[0]')"; }

sub wait_there
{
	my ($query, $name) = @_;
	return ok(wait_for(sub { $there->value($query) }), "$name: as far as it is to get");
}

# ---- what sessmgr is doing: brings it about, with the local statement active
# or not

my %state = (
	'a call runs' => sub {
		my ($psql, $name) = @_;
		$psql->start(q{SELECT sessmgr.execute('remote', 'INSERT INTO t SELECT 1 FROM pg_sleep(600)')});
		wait_there(sprintf($active, 'pg_sleep'), $name);
	},
	'a statement of a session runs' => sub {
		my ($psql, $name, $ending) = @_;
		$psql->open('s', 'remote');
		# the target looks after itself only where nobody is left to cancel
		$psql->value(in_session('SET client_connection_check_interval = 0')) if $ending ne 'crash';
		$psql->value(in_session('INSERT INTO t VALUES (1)'));
		$psql->value(in_session('LOCK kept'));
		$psql->start(in_session('INSERT INTO t SELECT 1 FROM pg_sleep(600)'));
		wait_there(sprintf($active, 'pg_sleep'), $name);
	},
	'waits for a lock' => sub {
		my ($psql, $name) = @_;
		$holder->value('BEGIN; LOCK kept');
		$psql->start(q{SELECT sessmgr.execute('remote', 'UPDATE kept SET value = 1')});
		wait_there($waits, $name);
	},
	connecting => sub {
		my ($psql, $name) = @_;
		stop_process($remote->{_pid});
		$psql->start(q{SELECT sessmgr.execute('remote', 'INSERT INTO t VALUES (1)')});
		ok(wait_for(
				sub {
					$admin->value(qq{SELECT count(*) FROM pg_stat_activity
						WHERE pid = $psql->{pid} AND wait_event_type = 'Extension'});
				}), "$name: as far as it is to get");
	},
	'a transaction is open' => sub {
		my ($psql, $name, $ending) = @_;
		$psql->value('BEGIN') if $ending ne 'quit';
		$psql->open('s', 'remote', $ending eq 'quit' ? '{"hold": true}' : '{}');
		$psql->value(in_session('INSERT INTO t VALUES (1)'));
		$psql->value(in_session('LOCK kept'));
		is($there->value('SELECT count(*) > 0 FROM (' . $orphans . ') o (x) WHERE x IS NOT NULL'),
			't', "$name: as far as it is to get");
		# a cancel needs a statement, which is then a local one
		if ($ending =~ /^(?:cancel|statement_timeout|client lost)$/)
		{
			$psql->start('SELECT pg_sleep(600)');
			wait_for(
				sub {
					$admin->value(qq{SELECT count(*) FROM pg_stat_activity
						WHERE pid = $psql->{pid} AND wait_event = 'PgSleep'});
				});
		}
	});
my @states = sort keys %state;

# Waits until the local statement has failed
sub ends_by_itself
{
	my ($psql, $expected, $name) = @_;
	$psql->fails(undef, $expected, "$name: ended");
	return time();
}

# ---- how it ends; returns since when

my %ending = (
	cancel => sub {
		my ($psql, $name) = @_;
		my $start = time();
		$admin->value("SELECT pg_cancel_backend($psql->{pid})");
		ends_by_itself($psql, '57014', $name);
		return $start;
	},
	statement_timeout => sub { return ends_by_itself($_[0], '57014', $_[1]); },
	idle_in_transaction_session_timeout => sub {
		my ($psql) = @_;
		wait_for(sub { $admin->value("SELECT count(*) FROM pg_stat_activity WHERE pid = $psql->{pid}") == 0 });
		return time();
	},
	terminate => sub {
		my ($psql) = @_;
		my $start = time();
		$admin->value("SELECT pg_terminate_backend($psql->{pid})");
		return $start;
	},
	'client lost' => sub {
		my ($psql) = @_;
		my $start = time();
		$psql->kill_client;
		return $start;
	},
	quit => sub {
		my ($psql) = @_;
		my $start = time();
		$psql->quit;
		return $start;
	},
	crash => sub {
		my ($psql) = @_;
		my $start = time();
		kill('KILL', $psql->{pid});
		return $start;
	});

# Settings that bring an ending about
my %setting = (
	statement_timeout => q{SET statement_timeout = '3s'},
	idle_in_transaction_session_timeout => q{SET idle_in_transaction_session_timeout = '3s'});

sub makes_sense
{
	my ($state, $ending) = @_;
	return $state eq 'a transaction is open' || $ending !~ /^(?:quit|idle_in)/;
}

foreach my $ending (sort keys %ending)
{
	foreach my $state (grep { makes_sense($_, $ending) } @states)
	{
		my $name = "$state, $ending";
		my $psql = psql($local);

		$psql->value($setting{$ending}) if $setting{$ending};
		$state{$state}->($psql, $name, $ending);
		my $start = $ending{$ending}->($psql, $name);

		if ($state eq 'connecting')
		{
			ok(wait_for(
					sub {
						# the whole server restarts after a crash
						return 1 if $ending =~ /^(?:crash|statement_timeout|cancel)$/;
						$admin->value("SELECT count(*) FROM pg_stat_activity WHERE pid = $psql->{pid}") == 0;
					}), "$name: the local backend ends");
			note(sprintf('%s: after %.1f s', $name, time() - $start));
			continue_process($remote->{_pid});
		}
		my $limit = ($ending eq 'crash' ? 3 : 2) + $slack;
		my $gone = wait_for(sub { $there->value($orphans) eq '' }, $limit);
		note(sprintf('%s: nothing is left after %.1f s', $name, time() - $start));
		ok($gone, "$name: nothing is left there") || diag($there->value($orphans));
		$holder->value('ROLLBACK') if $state eq 'waits for a lock';
		is($there->value('SELECT (SELECT count(*) FROM t), value FROM kept'), '0|0',
			"$name: and nothing was changed");

		if ($ending =~ /^(?:cancel|statement_timeout)$/)
		{
			# the backend lives on
			$psql->run('ROLLBACK');
			$psql->value('RESET statement_timeout');
			$psql->is(q{SELECT sessmgr.scalar('remote', 'SELECT 1')}, 1, "$name: usable again");
			$psql->is(q{SELECT count(*) FROM sessmgr.connections WHERE state <> 'idle'}, 0,
				"$name: none is left checked out");
		}
		$psql->kill_client unless $ending =~ /^(?:quit|client lost)$/;
		if ($ending eq 'crash')
		{
			$admin->kill_client;
			ok(wait_for(sub { ($local->psql('postgres', 'SELECT 1'))[0] == 0 }),
				"$name: the local server is up again");
			$admin = psql($local);
		}
		ok( wait_for(
				sub { $there->value(q{SELECT count(*) FROM pg_stat_activity
						WHERE application_name = 'sessmgr'}) == 0 }),
			"$name: the connection ends as well");
	}
}

is($there->value('SELECT (SELECT count(*) FROM t), value FROM kept'), '0|0',
	'nothing was changed afterwards either');
$_->quit foreach $admin, $there, $holder;
$_->stop foreach $local, $remote;
done_testing();
