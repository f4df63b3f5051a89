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
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use POSIX ();
use PostgreSQL::Test::Utils;
use SessmgrTest;
use Test::More;
use Time::HiRes qw(time);

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
	T37 => [ 'there', 'PREPARE unanswered', 'two_phase' ],
	T38 => [ 'there', 'prepared', 'two_phase' ],
	T39 => [ 'there', 'committed here', 'two_phase' ],

	T41 => [ 'crash', 'a statement runs', 'autocommit' ],
	T42 => [ 'crash', 'a statement runs', @sessions ],
	T43 => [ 'crash', 'open, idle', 'manual' ],
	T44 => [ 'crash', 'open, idle', @bound ],
	T45 => [ 'crash', 'COMMIT at work', qw(manual joined) ],
	T46 => [ 'crash', 'PREPARE at work', 'two_phase' ],
	T47 => [ 'crash', 'PREPARE unanswered', 'two_phase' ],
	T48 => [ 'crash', 'prepared', 'two_phase' ],
	T49 => [ 'crash', 'committed here', 'two_phase' ],

	T51 => [ 'stop', 'a statement runs', 'autocommit' ],
	T52 => [ 'stop', 'a statement runs', @sessions ],
	T54 => [ 'stop', 'COMMIT at work', qw(manual joined) ],
	T55 => [ 'stop', 'COMMIT unanswered', qw(manual joined) ],
	T56 => [ 'stop', 'PREPARE at work', 'two_phase' ],
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
	"restart_after_crash = on\n");
# on the target, "slow" can have a transaction's end stop by itself
my $gate = q{
	CREATE FUNCTION gate(n integer) RETURNS integer LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM pg_advisory_lock_shared(n);
			PERFORM pg_advisory_unlock_shared(n);
			RETURN n;
		END $$;
	CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			IF new.stops THEN EXECUTE 'COPY (SELECT) TO PROGRAM ''kill -STOP $PPID'''; END IF;
			PERFORM gate(new.n);
			RETURN new;
		END $$;
	CREATE TABLE slow (n integer, stops boolean DEFAULT false);
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
my ($watch_here, $watch_there);
my $trials = 0;

# ---- the network, where a trial has one of its own

my @proxies;
END { my $status = $?; kill('KILL', @proxies); $? = $status; }

# Passes on all that it gets, until it is told otherwise.  A signal has it pass
# nothing: USR1, back any more; USR2, after the next message there, in either
# direction; STOP, from now on, in either direction.  Nothing is closed by that:
# it looks as if the network was gone.
sub pass_on
{
	my ($listener) = @_;
	my ($mute, $last) = (0, 0);
	my (%there, %back);

	$SIG{USR1} = sub { $mute = 1 };
	$SIG{USR2} = sub { $last = $mute = 1 };
	$SIG{PIPE} = 'IGNORE';
	while (1)
	{
		my @from = ($listener, map({ $_->[0] } values %there), $mute ? () : map({ $_->[0] } values %back));
		foreach my $from (IO::Select->new(@from)->can_read)
		{
			if ($from == $listener)
			{
				my $client = $listener->accept;
				my $server = IO::Socket::UNIX->new(Peer => $remote->host . '/.s.PGSQL.' . $remote->port) or next;
				$there{$client} = [ $client, $server ];
				$back{$server} = [ $server, $client ];
				next;
			}
			next if $mute && $back{$from};
			my (undef, $to) = @{ $there{$from} // $back{$from} // next };
			# a signal that comes while a message is passed on means the next one
			my $is_last = $last;
			if (sysread($from, my $data, 65536))
			{
				put_all($to, $data);
				kill('STOP', $$) if $is_last;
				next;
			}
			shutdown($to, 1);
			delete $there{$from};
			delete $back{$from};
		}
	}
}

# Starts one; returns its pid and port
sub new_proxy
{
	my $listener = IO::Socket::INET->new(Listen => 20, LocalAddr => '127.0.0.1')
	  or die "could not listen: $!";
	my $pid = fork();

	die "could not fork: $!" unless defined $pid;
	if ($pid)
	{
		push @proxies, $pid;
		return ($pid, $listener->sockport);
	}
	# a psql ends when nobody has its input open any more
	POSIX::close($_) foreach grep { $_ != fileno($listener) } 3 .. 1023;
	eval { pass_on($listener) };
	POSIX::_exit(1);
}

# ---- looking

# Connections to look with: at the beginning, and when a server may have ended
sub watch_anew
{
	$_->quit foreach grep { $_ } $watch_here, $watch_there;
	($watch_here, $watch_there) = (psql($local), psql($remote));
}

# What the transaction of a trial is doing on the target
sub there
{
	my ($trial) = @_;
	my ($n, $lock) = ($trial->{n}, $mark + $trial->{n});
	return $watch_there->value(qq{
		SELECT CASE WHEN EXISTS (SELECT FROM there WHERE n = $n) THEN 'committed'
			WHEN EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = $lock AND pid IS NULL) THEN 'prepared'
			WHEN EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = $lock) THEN 'open'
			ELSE 'rolled back' END});
}

sub here
{
	my ($trial) = @_;
	return $watch_here->value("SELECT count(*) FROM here WHERE n = $trial->{n}")
	  ? 'committed' : 'rolled back';
}

# The process on the target that works for a trial
sub pid_there
{
	my ($trial) = @_;
	my $lock = $mark + $trial->{n};
	return $watch_there->value(
		"SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = $lock AND pid IS NOT NULL");
}

sub wait_at_gate
{
	my ($watch, $trial) = @_;
	ok(wait_for(
			sub {
				$watch->value(
					"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = $trial->{n} AND NOT granted");
			}), "$trial->{name}: is at the gate");
}

# Has the local backend sent something, and waits for the answer?
sub wait_unanswered
{
	my ($trial) = @_;
	ok(wait_for(
			sub {
				$watch_here->value(qq{SELECT count(*) FROM pg_stat_activity
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
	my ($trial, $control) = @_;
	($control // $control_here)->value("SELECT pg_advisory_unlock($trial->{n})");
}

# From now on nothing that is sent gets to the target, or, in a network of which
# only one direction is gone, no answer back
sub cut_off
{
	my ($trial) = @_;
	return stop_process($trial->{pid}) unless $trial->{proxy};
	kill($trial->{cause} eq 'cut' ? 'STOP' : 'USR1', $trial->{proxy});
}

# The steps to each state.  A target that is to be stopped is stopped before the
# command is sent, so that it surely gives no answer; or by the command.
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
			cut_off($trial);
			start_statement($trial);
			return;
		}
		start_statement($trial);
		wait_at_gate($watch_there, $trial) unless $trial->{cause} eq 'timeout';
		$trial->{pid} = pid_there($trial);
	},
	'open, idle' => sub {
		my ($trial) = @_;
		$trial->{psql}->value(call($trial, "INSERT INTO there SELECT mark($trial->{n})"));
		$trial->{pid} = pid_there($trial);
	},
	'at work' => sub {
		my ($trial) = @_;
		my $stops = $trial->{cause} eq 'stopped' ? 'true' : 'false';
		$trial->{psql}->value(call($trial, "INSERT INTO there SELECT mark($trial->{n})"));
		$trial->{psql}->value(call($trial, "INSERT INTO slow VALUES ($trial->{n}, $stops)"));
		$trial->{pid} = pid_there($trial);
		kill($trial->{cause} eq 'cut' ? 'USR2' : 'USR1', $trial->{proxy}) if $trial->{proxy};
		start_end($trial);
		if ($trial->{cause} eq 'stopped')
		{
			ok(stops($trial->{pid}), "$trial->{name}: is stopped at its work");
			return;
		}
		wait_at_gate($watch_there, $trial) unless $trial->{cause} eq 'timeout';
	},
	'unanswered' => sub {
		my ($trial) = @_;
		$trial->{psql}->value(call($trial, "INSERT INTO there SELECT mark($trial->{n})"));
		$trial->{pid} = pid_there($trial);
		cut_off($trial);
		start_end($trial);
		# it is done there, and the answer is lost
		ok(wait_for(sub { there($trial) =~ /prepared|committed/ }), "$trial->{name}: is done there")
		  if $trial->{proxy} && $trial->{cause} ne 'cut';
		wait_unanswered($trial) unless $trial->{table} eq 'stop';
	},
	'prepared' => sub {
		my ($trial) = @_;
		$trial->{psql}->value(call($trial, "INSERT INTO there SELECT mark($trial->{n})"));
		$trial->{pid} = pid_there($trial);
		$trial->{psql}->value("SELECT sessmgr.execute('gate', 'INSERT INTO slow VALUES ($trial->{n})')");
		start_end($trial);
		wait_at_gate($watch_here, $trial);
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

# What has been stopped goes on, as far as it is still there; where the network
# is gone, both sides find out by themselves at some time
sub go_on
{
	foreach my $trial (grep { $_->{state} =~ /unanswered|committed here/ || $_->{table} eq 'stop' } @_)
	{
		if ($trial->{proxy})
		{
			kill('KILL', $trial->{proxy});
			next;
		}
		continue_process($trial->{pid});
	}
}

sub gone
{
	my ($trial) = @_;
	return !grep { $_ == $trial->{pid} } remote_backends($remote);
}

# Is a process that is stopped to end when it goes on?
sub is_doomed
{
	my ($pid) = @_;
	my $status = eval { slurp_file("/proc/$pid/status") } // return 1;
	return $status !~ /^State:\s+T/m || ($status =~ /^ShdPnd:.*(\w{8})$/m && hex($1) & 1 << (POSIX::SIGTERM() - 1));
}

# A fast shutdown of a server, and its start.  The gates on it stay closed until
# these processes have ended; what is given besides and was stopped goes on when
# it has been told to end.
sub shut_down
{
	my ($node, $control, $pids, @trials) = @_;
	my $pidfile = $node->data_dir . '/postmaster.pid';

	stop_process($control->{pid});
	# before: of two signals that come at once, the one to stop is not the first
	stops($_) foreach $control->{pid}, map { $_->{pid} } grep { $_->{state} =~ /unanswered|committed here/ && !$_->{proxy} } @trials;
	kill('INT', $node->{_pid});
	ok(wait_for(sub { !grep { !is_doomed($_) } $control->{pid}, @$pids }), $node->name . ': is shutting down');
	go_on(@trials);
	ok(wait_for(sub { !grep { -e "/proc/$_" } @$pids }), $node->name . ': the processes have ended');
	continue_process($control->{pid});
	ok(wait_for(sub { !-e $pidfile }), $node->name . ': is shut down');
	$node->{_pid} = undef;
	$node->start;
}

my %cause = (
	killed => sub {
		my @pids = map { $_->{psql}{pid} } @_;
		# at one moment: nobody is to see what dies first
		stop_process(@pids);
		kill('KILL', @pids);
		crashed_and_back($local, @pids);
	},
	crash_here => sub {
		stop_process(map { $_->{psql}{pid} } @_);
		kill_server($local);
		$local->start;
	},
	terminated => sub {
		$control_here->value("SELECT pg_terminate_backend($_->{psql}{pid})") foreach @_;
		go_on(grep { $_->{state} eq 'committed here' } @_);
	},
	shutdown_here => sub {
		shut_down($local, $control_here, [ map { $_->{psql}{pid} } @_ ], grep { $_->{state} eq 'committed here' } @_);
	},
	idle_timeout => sub {
		my $pids = join(', ', map { $_->{psql}{pid} } @_);
		$_->{psql}->value("SET idle_in_transaction_session_timeout = '500ms'") foreach @_;
		ok(wait_for(sub { !$local->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE pid IN ($pids)") }),
			'the backends have ended');
	},
	client_gone => sub {
		my $pids = join(', ', map { $_->{psql}{pid} } @_);
		$_->{psql}->kill_client foreach @_;
		go_on(grep { $_->{state} eq 'committed here' } @_);
		ok(wait_for(sub { !$local->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE pid IN ($pids)") }),
			'the backends have ended');
	},
	canceled => sub {
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
	shutdown_there => sub {
		shut_down($remote, $control_there, [ map { $_->{pid} } @_ ], @_);
		release($_) foreach grep { $_->{state} eq 'prepared' } @_;
	},
	crash_there => sub {
		$remote->stop('immediate');
		go_on(grep { $_->{proxy} } @_);
		$remote->start;
		release($_) foreach grep { $_->{state} eq 'prepared' } @_;
	});
$cause{$_} = sub {
	foreach (grep { $_->{state} eq 'prepared' } @_)
	{
		cut_off($_);
		release($_);
	}
  }
  foreach qw(stopped cut);

my %causes = (
	here => [ 'killed', 'crash_here' ],
	end => [ 'terminated', 'client_gone', 'shutdown_here', 'idle_timeout' ],
	cancel => [ 'canceled', 'timeout' ],
	there => [ 'terminated_there', 'shutdown_there' ],
	crash => ['crash_there'],
	stop => [ 'stopped', 'cut' ]);

# A timeout ends statements, and commit() is one; at the end of the local
# transaction it is over.  To a backend, a shutdown is what a termination is.
sub concerns
{
	my ($cause, $state, $mode) = @_;
	return $state eq 'open, idle' if $cause eq 'idle_timeout';
	return $state =~ /a statement runs|open, idle|committed here/ if $cause eq 'shutdown_here';
	return $cause ne 'timeout' || $state eq 'a statement runs' || ($state eq 'COMMIT at work' && $mode eq 'manual');
}

# In which ways is a row to be tried?  "mute": the answer is lost, which can be
# had only from a network.
sub ways
{
	my ($cause, $state) = @_;
	return ('cut', 'mute') if $cause eq 'cut';
	return ($cause, 'mute') if $cause =~ /there/ && $state eq 'PREPARE unanswered';
	return $cause;
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

	if ($cause =~ /^(?:cut|mute)$/)
	{
		my $transaction = $mode eq 'autocommit' ? '' : "transaction '$mode', ";
		($trial->{proxy}, my $port) = new_proxy();
		$trial->{dburi} = "network_$trials";
		$local->safe_psql('postgres', qq{
			CREATE SERVER $trial->{dburi} FOREIGN DATA WRAPPER sessmgr
				OPTIONS (host '127.0.0.1', port '$port', dbname 'postgres', $transaction$patience{$patience});
			CREATE USER MAPPING FOR CURRENT_USER SERVER $trial->{dburi}});
	}

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
	# all its deadlines together are 12 s; longer ones are 60 s, or none
	cmp_ok($psql->{seconds}, '<', 30, "$trial->{name}: by a deadline") if $trial->{table} eq 'stop';
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

# Which of several possible ends there were: id => { end => 1 }
my %seen;

sub agree
{
	my ($trial, $what, $got) = @_;
	my $said = $page{ $trial->{id} }{$what} // '';
	$said =~ s/`//g;
	$said = '25P03' if $what eq 'error' && $trial->{cause} eq 'idle_timeout';
	# there is nobody to hear of it
	return pass("$trial->{name}: $what") if $what eq 'error' && $trial->{cause} eq 'client_gone';
	return like($got, qr/^(?:committed|rolled back)$/, "$trial->{name}: $what, which the client cannot know")
	  if $said eq 'not known';
	if ((my @ends = split(/, or /, $said)) > 1)
	{
		$seen{ $trial->{id} }{$got} = 1;
		return is((grep { $_ eq $got } @ends)[0], $got, "$trial->{name}: $what, one of those possible");
	}
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
		watch_anew();
		foreach my $id (sort grep { $rows{$_}[0] eq $table } keys %rows)
		{
			my (undef, $state, @modes) = @{ $rows{$id} };
			is($page{$id}{modes}, join(', ', @modes), "$id: modes");
			is($page{$id}{state}, $state, "$id: state");
			foreach my $mode (grep { concerns($cause, $state, $_) } @modes)
			{
				push @trials, map { begin_trial($_, $id, $table, $state, $mode) } ways($cause, $state);
			}
		}
		$_->{psql}{started} = time() foreach grep { $table eq 'stop' } @trials;
		$cause{$cause}->(@trials);
		watch_anew();
		$_->{error} = error_of($_) foreach @trials;

		# what has been sent is still done, or not; but what is to be committed when it
		# is already prepared, recover() can do before
		if ($cause eq 'cut')
		{
			my @at_work = grep { $_->{state} =~ /at work/ } @trials;
			release($_, $control_there) foreach @at_work;
			ok(wait_for(sub { there($_) ne 'open' }), "$_->{name}: its work has ended") foreach @at_work;
		}
		go_on(grep { $_->{state} =~ /unanswered|a statement runs|at work/ } @trials);
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

foreach my $id (sort grep { $page{$_}{there} =~ /, or / } keys %page)
{
	my $said = join(' / ', sort split(/, or /, $page{$id}{there} =~ s/`//gr));
	is(join(' / ', sort keys %{ $seen{$id} }), $said, "$id: all that may be has been");
}

$_->quit foreach $watch_here, $watch_there;
$local->stop;
$remote->stop;
done_testing();
