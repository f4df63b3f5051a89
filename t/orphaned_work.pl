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

# What is looked at on the target is to be over 2 s after the event, or 3 s after
# the local backend was killed outright.  The event is the cancel, the end of the
# client and so on, or the moment at which a timeout is due, not the one at which
# its error is seen.  The rest is for a noisy machine; it is well below
# cleanup_timeout (10 s), when whoever waits for an answer without having asked
# for the end would give up.
my ($soon, $soon_after_crash, $slack) = (2, 3, 5);
my ($longest, $longest_name) = (0, '');

my ($local, $remote) = new_pair(
	local => "restart_after_crash = on\n",
	remote => "max_prepared_transactions = 10\n");
new_server($local, $remote, 'other');
new_server($local, $remote, 'small', "pool_size '1', max_overflow '0', pool_timeout '600s'");
new_server($local, $remote, $_, "transaction '$_'") foreach qw(joined two_phase);
$local->safe_psql('postgres', 'CREATE TABLE here (id int)');

# Whatever is to take long on the target is busy().  There and nowhere else the
# target's own look for its client is switched off: where the local backend can
# still ask for the end, nothing but that is to bring it about.
$remote->safe_psql('postgres', q{
	CREATE TABLE t (id text);
	CREATE TABLE kept AS SELECT 0 AS value;
	CREATE TABLE own_look AS SELECT false AS wanted;
	CREATE FUNCTION no_own_look() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
		PERFORM set_config('client_connection_check_interval', '0', false) FROM own_look WHERE NOT wanted;
	END $$;
	CREATE FUNCTION busy() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
		PERFORM no_own_look();
		PERFORM pg_sleep(600);
		RETURN 1;
	END $$;
	CREATE FUNCTION change_kept() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
		PERFORM no_own_look();
		UPDATE kept SET value = 1;
	END $$;
	CREATE FUNCTION busy_trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		PERFORM busy();
		RETURN new;
	END $$;
	CREATE TABLE pushed (id int);
	CREATE TRIGGER busy BEFORE INSERT ON pushed FOR EACH ROW EXECUTE FUNCTION busy_trigger();
	CREATE TABLE committed (id int);
	CREATE CONSTRAINT TRIGGER busy AFTER INSERT ON committed
		DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION busy_trigger()});
my $there = psql($remote);
my $holder = psql($remote);
my $admin = psql($local);

my $busy = q{SELECT count(*) FROM pg_stat_activity
	WHERE application_name = 'sessmgr' AND state = 'active' AND wait_event = 'PgSleep'};
my $waits = q{SELECT count(*) FROM pg_stat_activity
	WHERE application_name = 'sessmgr' AND wait_event_type = 'Lock'};
my $orphans = q{
	SELECT concat_ws('; ',
		(SELECT string_agg(concat_ws(' ', state, query, locks), '; ')
		FROM pg_stat_activity a,
			LATERAL (SELECT string_agg(mode, ',') AS locks FROM pg_locks l WHERE l.pid = a.pid) l
		WHERE application_name = 'sessmgr' AND
			(state <> 'idle' OR xact_start IS NOT NULL OR locks IS NOT NULL)),
		(SELECT string_agg(concat_ws(' ', 'prepared:', gid, mode), '; ')
		FROM pg_prepared_xacts p LEFT JOIN pg_locks l ON l.pid IS NULL AND l.transactionid = p.transaction))};
my $changed = q{SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM pushed),
	(SELECT count(*) FROM committed), value FROM kept};

sub in_session { return "SELECT sessmgr.execute(:'s'::sessmgr.session, '$_[0]')"; }
sub in_call { return "SELECT sessmgr.execute('$_[0]', '$_[1]')"; }

sub wait_there
{
	my ($query, $name, $n) = @_;
	$n //= 1;
	return ok(wait_for(sub { $there->value($query) == $n }), "$name: as far as it is to get");
}

sub wait_here
{
	my ($psql, $name) = @_;
	return ok(
		wait_for(
			sub {
				$admin->value(qq{SELECT count(*) FROM pg_stat_activity
					WHERE pid = $psql->{pid} AND wait_event_type = 'Extension'});
			}),
		$name);
}

# Is what the ending needs a local statement that runs?
sub needs_statement { return $_[0] =~ /^(?:cancel|statement_timeout|client lost)$/; }

# In an idle backend there is none; so one that has nothing to do with the target
sub start_local
{
	my ($psql, $ending) = @_;
	return unless needs_statement($ending);
	# which does not wait for a target, so that the server is to look for the client
	$psql->value("SET client_connection_check_interval = '500ms'") if $ending eq 'client lost';
	$psql->start('SELECT pg_sleep(600)');
	wait_for(
		sub {
			$admin->value(qq{SELECT count(*) FROM pg_stat_activity
				WHERE pid = $psql->{pid} AND wait_event = 'PgSleep'});
		});
}

# A session with something to lose
sub begin_session
{
	my ($psql, $options) = @_;
	$psql->open('s', 'remote', $options);
	$psql->value(in_session('INSERT INTO t VALUES (1)'));
	$psql->value(in_session('LOCK kept'));
}

# The same, bound to a local transaction
sub begin_bound
{
	my ($psql, $mode) = @_;
	$psql->value('BEGIN; INSERT INTO here VALUES (1)');
	$psql->value(in_call($mode, 'INSERT INTO t VALUES (1)'));
	$psql->value(in_call($mode, 'LOCK kept'));
}

# ---- what sessmgr is doing: brings it about, with the local statement active
# or not

my %state = (
	'a call runs' => sub {
		my ($psql, $name) = @_;
		$psql->start(in_call('remote', 'INSERT INTO t SELECT busy()'));
		wait_there($busy, $name);
	},
	'a statement of a session runs' => sub {
		my ($psql, $name) = @_;
		begin_session($psql);
		$psql->start(in_session('INSERT INTO t SELECT busy()'));
		wait_there($busy, $name);
	},
	'waits for a lock' => sub {
		my ($psql, $name) = @_;
		$holder->value('BEGIN; LOCK kept');
		$psql->start(in_call('remote', 'SELECT change_kept()'));
		wait_there($waits, $name);
	},
	connecting => sub {
		my ($psql, $name) = @_;
		stop_process($remote->{_pid});
		$psql->start(in_call('remote', 'INSERT INTO t VALUES (1)'));
		wait_here($psql, "$name: as far as it is to get");
	},
	'waits for a place in the pool' => sub {
		my ($psql, $name) = @_;
		$psql->start(q{SELECT * FROM sessmgr.execute_all('{small,small}', 'SELECT busy()')});
		wait_there($busy, $name);
	},
	'a transaction is open' => sub {
		my ($psql, $name, $ending) = @_;
		$psql->value('BEGIN') if $ending ne 'quit';
		begin_session($psql, $ending eq 'quit' ? '{"hold": true}' : '{}');
		isnt($there->value($orphans), '', "$name: as far as it is to get");
		start_local($psql, $ending);
	},
	'a stream' => sub {
		my ($psql, $name) = @_;
		$psql->start(q{SELECT * FROM sessmgr.stream('remote', 'SELECT busy()') AS s(i int)});
		wait_there($busy, $name);
	},
	'a stream of a session' => sub {
		my ($psql, $name) = @_;
		begin_session($psql);
		$psql->start(q{SELECT * FROM sessmgr.stream(:'s'::sessmgr.session, 'SELECT busy()') AS s(i int)});
		wait_there($busy, $name);
	},
	pull => sub {
		my ($psql, $name) = @_;
		$psql->start(q{SELECT sessmgr.pull('remote', 'INSERT INTO t SELECT busy() RETURNING 1', 'here')});
		wait_there($busy, $name);
	},
	push => sub {
		my ($psql, $name) = @_;
		$psql->start(q{SELECT sessmgr.push('remote', 'SELECT generate_series(1, 1000)', 'pushed')});
		wait_there($busy, $name);
	},
	execute_all => sub {
		my ($psql, $name) = @_;
		$psql->start(q{SELECT * FROM sessmgr.execute_all('{remote,other}', 'INSERT INTO t SELECT busy()')});
		wait_there($busy, $name, 2);
	},
	'a statement was sent' => sub {
		my ($psql, $name, $ending) = @_;
		$psql->value('BEGIN') if $ending ne 'quit';
		begin_session($psql, $ending eq 'quit' ? '{"hold": true}' : '{}');
		$psql->value(q{SELECT sessmgr.send(:'s'::sessmgr.session, 'INSERT INTO t SELECT busy()')});
		wait_there($busy, $name);
		start_local($psql, $ending);
	},
	'a statement is received' => sub {
		my ($psql, $name) = @_;
		$psql->value('BEGIN');
		begin_session($psql, '{}');
		$psql->value(q{SELECT sessmgr.send(:'s'::sessmgr.session, 'INSERT INTO t SELECT busy()')});
		$psql->start(q{SELECT * FROM sessmgr.receive(:'s'::sessmgr.session) AS r(n bigint)});
		wait_there($busy, $name);
		wait_here($psql, "$name: and waits for it");
	},
	'a statement is waited for' => sub {
		my ($psql, $name) = @_;
		$psql->value('BEGIN');
		begin_session($psql, '{}');
		$psql->value(q{SELECT sessmgr.send(:'s'::sessmgr.session, 'INSERT INTO t SELECT busy()')});
		$psql->start(q{SELECT sessmgr.wait_any(ARRAY[:'s'::sessmgr.session])});
		wait_there($busy, $name);
		wait_here($psql, "$name: and waits for it");
	});
foreach my $mode (qw(joined two_phase))
{
	my $command = $mode eq 'joined' ? 'COMMIT' : 'PREPARE';

	$state{"$mode: a statement runs"} = sub {
		my ($psql, $name) = @_;
		begin_bound($psql, $mode);
		$psql->start(in_call($mode, 'INSERT INTO t SELECT busy()'));
		wait_there($busy, $name);
	};
	$state{"$mode: a transaction is open"} = sub {
		my ($psql, $name, $ending) = @_;
		begin_bound($psql, $mode);
		isnt($there->value($orphans), '', "$name: as far as it is to get");
		start_local($psql, $ending);
	};
	$state{"$mode: $command at work"} = sub {
		my ($psql, $name) = @_;
		begin_bound($psql, $mode);
		$psql->value(in_call($mode, 'INSERT INTO committed VALUES (1)'));
		$psql->start('COMMIT');
		wait_there("$busy AND query LIKE '%$command%'", $name);
	};
}
my @states = sort keys %state;

# ---- how it ends; returns since when

# a timeout's, in seconds
my $timeout = 3;

my %ending = (
	cancel => sub {
		my ($psql) = @_;
		my $start = time();
		$admin->value("SELECT pg_cancel_backend($psql->{pid})");
		return $start;
	},
	# from the begin of the statement, or of being idle, on
	statement_timeout => sub { return $_[0]{started} + $timeout; },
	idle_in_transaction_session_timeout => sub { return $_[0]{started} + $_[0]{seconds} + $timeout; },
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
my %setting = map { $_ => "SET $_ = '${timeout}s'" } qw(statement_timeout idle_in_transaction_session_timeout);

# Those after which the backend lives on
sub survives { return $_[0] =~ /^(?:cancel|statement_timeout)$/; }

# The states of the first kind are tried with every ending, the others with those
# whose way to the end is another one than theirs.  A timeout takes its time.
sub makes_sense
{
	my ($state, $ending) = @_;
	my $idle = $state =~ /is open$|was sent$/;

	return 0 if !$idle && $ending =~ /^(?:quit|idle_in)/;
	return 1 if $state =~ /^(?:a call runs|a statement of a session runs|waits for a lock|connecting|a transaction is open)$/;
	return 1 if $ending =~ /^(?:cancel|terminate|client lost)$/;
	return $idle if $ending eq 'quit';
	return $idle && $state !~ /^two_phase/ if $ending =~ /^idle_in/;
	return $state eq 'joined: a statement runs' if $ending eq 'statement_timeout';
	return 0;
}

# Waits until something is so, but not for long after the event, and says when.
sub soon
{
	my ($since, $ending, $name, $test) = @_;
	my $limit = ($ending eq 'crash' ? $soon_after_crash : $soon) + $slack;
	my $good = wait_for($test, $since + $limit - time());
	my $seconds = time() - $since;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	note(sprintf('%s: after %.1f s', $name, $seconds));
	($longest, $longest_name) = ($seconds, $name) if $seconds > $longest;
	ok($good && $seconds <= $limit, $name) || diag(sprintf('after %.1f s', $seconds));
}

foreach my $ending (sort keys %ending)
{
	# after a crash the target has nobody but itself
	$there->value('UPDATE own_look SET wanted = ' . ($ending eq 'crash' ? 'true' : 'false'));
	foreach my $state (grep { makes_sense($_, $ending) } @states)
	{
		my $name = "$state, $ending";
		my $psql = psql($local);

		$psql->value($setting{$ending}) if $setting{$ending};
		$state{$state}->($psql, $name, $ending);
		my $since = $ending{$ending}->($psql, $name);

		if ($state eq 'connecting')
		{
			if (survives($ending))
			{
				$psql->fails(undef, '57014', "$name: ended");
			}
			elsif ($ending ne 'crash')
			{
				# the whole server restarts after a crash
				soon($since, $ending, "$name: the local backend has ended",
					sub { $admin->value("SELECT count(*) FROM pg_stat_activity WHERE pid = $psql->{pid}") == 0 });
			}
			continue_process($remote->{_pid});
		}
		unless (soon($since, $ending, "$name: nothing is left there", sub { $there->value($orphans) eq '' }))
		{
			diag($there->value($orphans));
			# what is looked at next would wait for its locks
			$there->value(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sessmgr'});
		}
		$psql->fails(undef, '57014', "$name: ended") if survives($ending) && $state ne 'connecting';
		$holder->value('ROLLBACK') if $state eq 'waits for a lock';
		is($there->value($changed), '0|0|0|0', "$name: and nothing was changed");

		if (survives($ending))
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
			ok(crashed_and_back($local, $psql->{pid}), "$name: the local server is up again");
			$admin = psql($local);
		}
		ok( wait_for(
				sub { $there->value(q{SELECT count(*) FROM pg_stat_activity
						WHERE application_name = 'sessmgr'}) == 0 }),
			"$name: the connection ends as well");
		is($admin->value('SELECT count(*) FROM here'), 0, "$name: nothing was changed here");
	}
}

is($there->value($changed), '0|0|0|0', 'nothing was changed afterwards either');
note(sprintf('the longest of all: %s, after %.1f s', $longest_name, $longest));
$_->quit foreach $admin, $there, $holder;
$_->stop foreach $local, $remote;
done_testing();
