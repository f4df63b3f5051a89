# What happens when something dies: the tables of doc/transactions.md.
#
# Each row of them has an id.  This test has the same ids; it brings a
# transaction in each mode that the row names to the state that it names, has
# happen what the table is about, and compares the error, and what is then to
# be found here and on the target, with what the page says.
#
# All rows of a table are tried at the same time, as some of them end a whole
# server.  Whoever comes to a gate waits for an advisory lock with the number of
# the row's trial, which the test holds; every transaction on the target holds
# another one, so that it can be told from outside what it is doing.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Utils;
use SessmgrTest;
use Test::More;

my $mark = 100000;

# ---- the rows

my @bound = qw(joined two_phase);
my @sessions = ('manual', @bound);

# id => [ table, state, modes ]
my %rows = (
	T01 => [ 'here', 'a statement runs', 'autocommit' ],
	T02 => [ 'here', 'a statement runs', @sessions ],
	T03 => [ 'here', 'open, idle', @sessions ],
	T04 => [ 'here', 'COMMIT at work', qw(manual joined) ],
	T05 => [ 'here', 'COMMIT unanswered', qw(manual joined) ],
	T06 => [ 'here', 'PREPARE at work', 'two_phase' ],
	T07 => [ 'here', 'PREPARE unanswered', 'two_phase' ],
	T08 => [ 'here', 'prepared', 'two_phase' ],
	T09 => [ 'here', 'committed here', 'two_phase' ],

	T11 => [ 'end', 'a statement runs', 'autocommit' ],
	T12 => [ 'end', 'a statement runs', @sessions ],
	T13 => [ 'end', 'open, idle', @sessions ],
	T14 => [ 'end', 'COMMIT at work', qw(manual joined) ],
	T15 => [ 'end', 'COMMIT unanswered', qw(manual joined) ],
	T16 => [ 'end', 'PREPARE at work', 'two_phase' ],
	T17 => [ 'end', 'PREPARE unanswered', 'two_phase' ],
	T18 => [ 'end', 'prepared', 'two_phase' ],
	T19 => [ 'end', 'committed here', 'two_phase' ],

	T21 => [ 'cancel', 'a statement runs', 'autocommit' ],
	T22 => [ 'cancel', 'a statement runs', @sessions ],
	T23 => [ 'cancel', 'open, idle', @sessions ],
	T24 => [ 'cancel', 'COMMIT at work', qw(manual joined) ],
	T25 => [ 'cancel', 'COMMIT unanswered', qw(manual joined) ],
	T26 => [ 'cancel', 'PREPARE at work', 'two_phase' ],
	T27 => [ 'cancel', 'PREPARE unanswered', 'two_phase' ],
	T28 => [ 'cancel', 'prepared', 'two_phase' ],
	T29 => [ 'cancel', 'committed here', 'two_phase' ],

	T31 => [ 'there', 'a statement runs', 'autocommit' ],
	T32 => [ 'there', 'a statement runs', @sessions ],
	T33 => [ 'there', 'open, idle', 'manual' ],
	T34 => [ 'there', 'open, idle', @bound ],
	T35 => [ 'there', 'COMMIT at work', qw(manual joined) ],
	T36 => [ 'there', 'PREPARE at work', 'two_phase' ],
	T38 => [ 'there', 'prepared', 'two_phase' ],
	T39 => [ 'there', 'committed here', 'two_phase' ],

	T41 => [ 'crash', 'a statement runs', 'autocommit' ],
	T42 => [ 'crash', 'a statement runs', @sessions ],
	T43 => [ 'crash', 'open, idle', 'manual' ],
	T44 => [ 'crash', 'open, idle', @bound ],
	T45 => [ 'crash', 'COMMIT at work', qw(manual joined) ],
	T46 => [ 'crash', 'PREPARE at work', 'two_phase' ],
	T48 => [ 'crash', 'prepared', 'two_phase' ],
	T49 => [ 'crash', 'committed here', 'two_phase' ],

	T51 => [ 'stop', 'a statement runs', 'autocommit' ],
	T52 => [ 'stop', 'a statement runs', @sessions ],
	T55 => [ 'stop', 'COMMIT unanswered', qw(manual joined) ],
	T57 => [ 'stop', 'PREPARE unanswered', 'two_phase' ],
	T58 => [ 'stop', 'prepared', 'two_phase' ]);

# The page's rows: id => { modes, state, error, here, there }
my %page;
foreach (split(/\n/, slurp_file('doc/transactions.md')))
{
	my ($id, @cells) = /^\| (T\d\d) \| (.*) \|$/ ? ($1, split(/ \| /, $2)) : next;
	ok(!$page{$id}, "$id is there once");
	@{ $page{$id} }{qw(modes state error here there)} = @cells;
}
is(join(' ', sort keys %page), join(' ', sort keys %rows),
	'the page has the rows that are tested, and no others');

# ---- the servers

my $remote = new_node('remote', "max_prepared_transactions = 50\nrestart_after_crash = on\n");
my $local = new_node('local',
	"restart_after_crash = on\nclient_connection_check_interval = '1s'\n");
my $gate = q{
	CREATE FUNCTION gate(n integer) RETURNS integer LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM pg_advisory_lock_shared(n);
			PERFORM pg_advisory_unlock_shared(n);
			RETURN n;
		END $$;
	CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN PERFORM gate(new.n); RETURN new; END $$;
	CREATE TABLE slow (n integer);
	CREATE CONSTRAINT TRIGGER gate AFTER INSERT ON slow
		DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION gate();};
$remote->safe_psql('postgres', "$gate
	CREATE TABLE there (n integer);
	CREATE FUNCTION mark(n integer) RETURNS integer LANGUAGE sql AS
		\$\$ SELECT pg_advisory_xact_lock($mark + n); SELECT n \$\$");
$local->safe_psql('postgres', "$gate
	CREATE EXTENSION sessmgr;
	CREATE TABLE here (n integer);
	CREATE SERVER gate FOREIGN DATA WRAPPER sessmgr
		OPTIONS (loopback 'true', dbname 'postgres', transaction 'joined', commit_timeout '10min');
	CREATE USER MAPPING FOR CURRENT_USER SERVER gate");

# patient ones wait for whatever the test does; brief ones do not wait for what
# is given up; short ones are for targets that are stopped, where all must end
my %patience = (
	patient => "commit_timeout '10min', cleanup_timeout '10min'",
	brief => "commit_timeout '10min', cleanup_timeout '2s'",
	short => "statement_timeout '8s', commit_timeout '8s', cleanup_timeout '2s'");
foreach my $patience (sort keys %patience)
{
	new_server($local, $remote, "${_}_$patience", "transaction '$_', $patience{$patience}")
	  foreach @sessions;
	new_server($local, $remote, "autocommit_$patience", $patience{$patience});
}

my ($control_here, $control_there);
my $trials = 0;

# ---- looking

# What the transaction of a trial is doing on the target
sub there
{
	my ($trial) = @_;
	my ($n, $lock) = ($trial->{n}, $mark + $trial->{n});
	return $remote->safe_psql('postgres', qq{
		SELECT CASE WHEN EXISTS (SELECT FROM there WHERE n = $n) THEN 'committed'
			WHEN EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = $lock AND pid IS NULL) THEN 'prepared'
			WHEN EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = $lock) THEN 'open'
			ELSE 'rolled back' END});
}

sub here
{
	my ($trial) = @_;
	return $local->safe_psql('postgres', "SELECT count(*) FROM here WHERE n = $trial->{n}")
	  ? 'committed' : 'rolled back';
}

# The process on the target that works for a trial
sub pid_there
{
	my ($trial) = @_;
	my $lock = $mark + $trial->{n};
	return $remote->safe_psql('postgres',
		"SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = $lock AND pid IS NOT NULL");
}

sub wait_at_gate
{
	my ($node, $trial) = @_;
	ok(wait_for(
			sub {
				$node->safe_psql('postgres',
					"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = $trial->{n} AND NOT granted");
			}), "$trial->{name}: is at the gate");
}

# Has the local backend sent something, and waits for the answer?
sub wait_unanswered
{
	my ($trial) = @_;
	ok(wait_for(
			sub {
				$local->safe_psql('postgres', qq{SELECT count(*) FROM pg_stat_activity
					WHERE pid = $trial->{psql}{pid} AND state = 'active' AND wait_event_type = 'Extension'});
			}), "$trial->{name}: waits for an answer");
}

# ---- bringing a trial to its state

# The call that runs a statement in the trial's mode
sub call
{
	my ($trial, $sql) = @_;
	my $target = $trial->{mode} eq 'manual' ? ":'s'::sessmgr.session" : "'$trial->{dburi}'";
	return "SELECT sessmgr.execute($target, '$sql')";
}

sub limit_time
{
	my ($trial) = @_;
	$trial->{psql}->value("SET LOCAL statement_timeout = '2s'") if $trial->{cause} eq 'timeout';
}

sub start_statement
{
	my ($trial) = @_;
	limit_time($trial);
	$trial->{psql}->start(call($trial, "INSERT INTO there SELECT gate(mark($trial->{n}))"));
}

sub start_end
{
	my ($trial) = @_;
	limit_time($trial);
	$trial->{psql}->start($trial->{mode} eq 'manual' ? q{SELECT sessmgr.commit(:'s'::sessmgr.session)} : 'COMMIT');
}

sub release
{
	my ($trial) = @_;
	$control_here->value("SELECT pg_advisory_unlock($trial->{n})");
}

# The steps to each state.  A target that is to be stopped is stopped before the
# command is sent, so that it surely gives no answer.
my %reach = (
	'a statement runs' => sub {
		my ($trial) = @_;
		if ($trial->{table} eq 'stop')
		{
			if ($trial->{mode} eq 'autocommit')
			{
				$trial->{pid} = $trial->{psql}->value(
					"SELECT sessmgr.scalar('$trial->{dburi}', 'SELECT pg_backend_pid()')");
			}
			else
			{
				$trial->{psql}->value(call($trial, "SELECT mark($trial->{n})"));
				$trial->{pid} = pid_there($trial);
			}
			stop_process($trial->{pid});
			start_statement($trial);
			return;
		}
		start_statement($trial);
		wait_at_gate($remote, $trial) unless $trial->{cause} eq 'timeout';
		$trial->{pid} = pid_there($trial);
	},
	'open, idle' => sub {
		my ($trial) = @_;
		$trial->{psql}->value(call($trial, "INSERT INTO there SELECT mark($trial->{n})"));
		$trial->{pid} = pid_there($trial);
	},
	'at work' => sub {
		my ($trial) = @_;
		$trial->{psql}->value(call($trial, "INSERT INTO there SELECT mark($trial->{n})"));
		$trial->{psql}->value(call($trial, "INSERT INTO slow VALUES ($trial->{n})"));
		$trial->{pid} = pid_there($trial);
		start_end($trial);
		wait_at_gate($remote, $trial) unless $trial->{cause} eq 'timeout';
	},
	'unanswered' => sub {
		my ($trial) = @_;
		$trial->{psql}->value(call($trial, "INSERT INTO there SELECT mark($trial->{n})"));
		$trial->{pid} = pid_there($trial);
		stop_process($trial->{pid});
		start_end($trial);
		wait_unanswered($trial) unless $trial->{table} eq 'stop';
	},
	'prepared' => sub {
		my ($trial) = @_;
		$trial->{psql}->value(call($trial, "INSERT INTO there SELECT mark($trial->{n})"));
		$trial->{pid} = pid_there($trial);
		$trial->{psql}->value("SELECT sessmgr.execute('gate', 'INSERT INTO slow VALUES ($trial->{n})')");
		start_end($trial);
		wait_at_gate($local, $trial);
		is(there($trial), 'prepared', "$trial->{name}: is prepared");
	});
$reach{"$_ at work"} = $reach{'at work'} foreach qw(COMMIT PREPARE);
$reach{"$_ unanswered"} = $reach{unanswered} foreach qw(COMMIT PREPARE);
$reach{'committed here'} = sub {
	my ($trial) = @_;
	$reach{prepared}->($trial);
	stop_process($trial->{pid});
	release($trial);
	ok(wait_for(sub { here($trial) eq 'committed' }), "$trial->{name}: is committed here");
};

# ---- what may happen; each gets all trials of its table

# What has been stopped goes on, as far as it is still there
sub go_on
{
	continue_process($_->{pid})
	  foreach grep { $_->{state} =~ /unanswered|committed here/ || $_->{table} eq 'stop' } @_;
}

sub local_back
{
	wait_for(sub { !$local->psql('postgres', 'SELECT 1') });
}

sub gone
{
	my ($trial) = @_;
	return !grep { $_ == $trial->{pid} } remote_backends($remote);
}

my %cause = (
	killed => sub {
		kill('KILL', map { $_->{psql}{pid} } @_);
		local_back();
	},
	crash_here => sub {
		# at one moment: nobody is to see what dies first
		stop_process(map { $_->{psql}{pid} } @_);
		kill_server($local);
		$local->start;
	},
	terminated => sub {
		$control_here->value("SELECT pg_terminate_backend($_->{psql}{pid})") foreach @_;
		go_on(grep { $_->{state} eq 'committed here' } @_);
	},
	client_gone => sub {
		my $pids = join(', ', map { $_->{psql}{pid} } @_);
		$_->{psql}->kill_client foreach @_;
		go_on(grep { $_->{state} eq 'committed here' } @_);
		ok(wait_for(sub { !$local->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE pid IN ($pids)") }),
			'the backends have ended');
	},
	cancelled => sub {
		$control_here->value("SELECT pg_cancel_backend($_->{psql}{pid})") foreach @_;
		go_on(grep { $_->{state} eq 'committed here' } @_);
	},
	timeout => sub { },
	terminated_there => sub {
		$remote->safe_psql('postgres', "SELECT pg_terminate_backend($_->{pid})") foreach @_;
		go_on(@_);
		ok(wait_for(sub { gone($_) }), "$_->{name}: is ended there") foreach @_;
		release($_) foreach grep { $_->{state} eq 'prepared' } @_;
	},
	crash_there => sub {
		$remote->stop('immediate');
		$remote->start;
		release($_) foreach grep { $_->{state} eq 'prepared' } @_;
	},
	stopped => sub {
		foreach (grep { $_->{state} eq 'prepared' } @_)
		{
			stop_process($_->{pid});
			release($_);
		}
	});

my %causes = (
	here => [ 'killed', 'crash_here' ],
	end => [ 'terminated', 'client_gone' ],
	cancel => [ 'cancelled', 'timeout' ],
	there => ['terminated_there'],
	crash => ['crash_there'],
	stop => ['stopped']);

# A timeout ends statements, and commit() is one; at the end of the local
# transaction it is over.
sub concerns
{
	my ($cause, $state, $mode) = @_;
	return $cause ne 'timeout' || $state eq 'a statement runs' || ($state eq 'COMMIT at work' && $mode eq 'manual');
}

# ---- a trial's beginning and end

sub begin_trial
{
	my ($cause, $id, $table, $state, $mode) = @_;
	my $patience = $table eq 'stop' ? 'short' : $state =~ /unanswered/ ? 'brief' : 'patient';
	my $trial = {
		n => ++$trials, id => $id, table => $table, state => $state, mode => $mode, cause => $cause,
		dburi => "${mode}_$patience", name => "$id, $cause, $mode, $state"
	};

	$control_here->value("SELECT pg_advisory_lock($trials)");
	$control_there->value("SELECT pg_advisory_lock($trials)");
	$trial->{psql} = psql($local);
	$trial->{psql}->value('BEGIN');
	$trial->{psql}->value("INSERT INTO here VALUES ($trials)");
	$trial->{psql}->open('s', $trial->{dburi}, '{}') if $mode eq 'manual';
	$reach{$state}->($trial);
	return $trial;
}

# What the client is told
sub error_of
{
	my ($trial) = @_;
	my $psql = $trial->{psql};

	return 'nobody is told' if $trial->{cause} eq 'client_gone';
	start_end($trial) if $trial->{state} eq 'open, idle';
	my ($out, $err, $state) = $psql->finish;
	note("$trial->{name}: $err") if $err ne '';
	return 'connection lost' if $trial->{table} eq 'here' && $err =~ /server closed the connection|connection to server was lost/;
	# the local transaction's own end
	if ($err !~ /FATAL/)
	{
		$psql->run($state eq '' ? 'COMMIT' : 'ROLLBACK');
		# a backend that is terminated may say so only when its COMMIT has been answered
		$state = $psql->{last_state} if $state eq '';
	}
	return $state ne '' ? $state : $err =~ /WARNING:  08007/ ? 'none (WARNING 08007)' : 'none';
}

sub agree
{
	my ($trial, $what, $got) = @_;
	my $said = $page{ $trial->{id} }{$what} // '';
	$said =~ s/`//g;
	# there is nobody to hear of it
	return pass("$trial->{name}: $what") if $what eq 'error' && $trial->{cause} eq 'client_gone';
	return like($got, qr/^(?:committed|rolled back)$/, "$trial->{name}: $what, which the client cannot know")
	  if $said eq 'not known';
	return is($got, $said, "$trial->{name}: $what");
}

sub recover
{
	return $local->safe_psql('postgres', q{SELECT outcome FROM sessmgr.recover('two_phase_patient')});
}

# ---- all of it

foreach my $table (qw(here end cancel there crash stop))
{
	foreach my $cause (@{ $causes{$table} })
	{
		my @trials;

		$control_here = psql($local);
		$control_there = psql($remote);
		foreach my $id (sort grep { $rows{$_}[0] eq $table } keys %rows)
		{
			my (undef, $state, @modes) = @{ $rows{$id} };
			is($page{$id}{modes}, join(', ', @modes), "$id: modes");
			is($page{$id}{state}, $state, "$id: state");
			push @trials, map { begin_trial($cause, $id, $table, $state, $_) }
			  grep { concerns($cause, $state, $_) } @modes;
		}
		$cause{$cause}->(@trials);
		$_->{error} = error_of($_) foreach @trials;

		# what has been sent is still done, or not; but what is to be committed when it
		# is already prepared, recover() can do before
		go_on(grep { $_->{state} =~ /unanswered|a statement runs/ } @trials);
		ok(wait_for(sub { there($_) ne 'open' }), "$_->{name}: its transaction has ended") foreach @trials;
		$_->{there} = there($_) foreach @trials;
		$_->{here} = here($_) foreach @trials;
		my @in_doubt = grep { $_->{there} eq 'prepared' } @trials;
		is(scalar(() = recover() =~ /^(?:committed|rolled back)$/mg), scalar(@in_doubt), "$cause: recover finishes all");
		$_->{there} .= '; recover: ' . there($_) foreach @in_doubt;
		go_on(@trials);

		foreach my $trial (@trials)
		{
			agree($trial, $_, $trial->{$_}) foreach qw(error here there);
			note("| $trial->{id} | $trial->{mode} | $trial->{state} | $trial->{error} | $trial->{here} | $trial->{there} |");
		}
		is(recover(), '', "$cause: recover finds no more");
		is($remote->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts'), 0, "$cause: nothing is prepared");
		is($local->safe_psql('postgres', 'SELECT count(*) FROM sessmgr.two_phase'), 0, "$cause: nothing is in doubt");
		$_->{psql}->quit foreach grep { $cause ne 'client_gone' } @trials;
		$_->quit foreach $control_here, $control_there;
	}
}

$local->stop;
$remote->stop;
done_testing();
