# What is said of work whose connection is cut must be true, and no vaguer than
# need be.  A proxy between the servers cuts the connection at each message in
# each direction, and writes down what it has got from sessmgr: so it is known
# of each cut whether the command that commits had been sent and whether its
# answer had come, and with it what must be reported.  That is compared with
# what is reported, and both with what is there; for a two-phase transaction,
# after recover().

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use IO::Handle;
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use POSIX ();
use PostgreSQL::Test::Utils;
use SessmgrTest;
use Socket qw(IPPROTO_TCP SOL_SOCKET SO_LINGER TCP_CORK TCP_NODELAY);
use Test::More;
use Time::HiRes qw(sleep time);

my ($local, $remote) = new_pair(remote => "max_prepared_transactions = 10\n");
my $dir = PostgreSQL::Test::Utils::tempdir;
my $listener = IO::Socket::INET->new(Listen => 20, LocalAddr => '127.0.0.1')
  or die "could not listen: $!";
my $port = $listener->sockport;
my $uri = "postgresql://127.0.0.1:$port/postgres?sslmode=disable&gssencmode=disable";
my $target = $remote->host . '/.s.PGSQL.' . $remote->port;
pipe(my $told, my $tell) or die "could not make a pipe: $!";
$tell->autoflush(1);

# ---- the proxy

# One connection.  The first of a case is cut, at the message number $cut of those that come from $where
# (client or server): "before" it, within it ("half"), or, while nothing else is
# to come, right "after" it.  Where the client's messages are cut, the server
# may still say what it has to say.  $commits is a pattern for the commands that
# commit, "" where it is a statement that does.
#
# However the connection ends, it is first closed for writing and then read to
# its end, so that nothing that was sent is missed.  Within an answer it may
# also be reset: then the client is waiting, and sends nothing.
#
# Returns what there was to see, of which "owed" is how many answers the client
# has not got, and "connecting" how many messages it took to connect.
sub serve
{
	my ($client, $commits, $where, $cut, $how) = @_;
	my $server = IO::Socket::UNIX->new(Peer => $target) or return {};
	my %socket = (client => $client, server => $server);
	my %other = (client => 'server', server => 'client');
	my %buffer = (client => '', server => '');
	my %first = (client => 1, server => 0);
	my %count = (client => 0, server => 0);
	my %quiet = (client => [], server => []);
	my %pass = (client => 1, server => 1);
	my %seen = map { $_ => 0 } qw(connected sent passed answered finished);
	my (@owed, @said, $last, $executed, $connecting, $is_first);
	my $select = IO::Select->new($client, $server);

	setsockopt($client, IPPROTO_TCP, TCP_NODELAY, 1);

	# What is to come in answer to a client's message: which is nothing, or what
	# it has to do with a commit, or '-'.
	my $answer_to = sub {
		my ($type, $text) = $_[0] =~ /^(.)....([^\0]*)/s;

		($text) = $_[0] =~ /^.....[^\0]*\0([^\0]*)/s if $type eq 'P';
		push @said, $text =~ /^(\w+)/ if $type =~ /[PQ]/;
		$executed = 1 if $type eq 'E';
		if ($type eq 'S')
		{
			my $answer = $executed && $commits eq '' ? 'commit' : '-';
			$executed = 0;
			return $answer;
		}
		return '' if $type ne 'Q';
		return 'finish' if $text =~ /^COMMIT PREPARED/;
		return $commits ne '' && $text =~ /^$commits/ ? 'commit' : '-';
	};
	# Nothing that comes from there is passed on any more.
	my $end = sub {
		my ($name) = @_;
		$pass{$name} = 0;
		shutdown($socket{$other{$name}}, 1) if $socket{$other{$name}}->opened;
	};

	while ($select->count)
	{
		foreach my $from ($select->can_read)
		{
			my $name = $from == $client ? 'client' : 'server';
			next unless $from->opened;
			if (!sysread($from, $buffer{$name}, 65536, length($buffer{$name})))
			{
				$select->remove($from);
				$end->($name);
				next;
			}
			my $starts = $first{$name};
			foreach my $message (whole_messages(\$buffer{$name}, \$first{$name}))
			{
				my $answer = '';
				if ($name eq 'client')
				{
					# but a request to cancel counts for nothing
					$is_first = unpack('N', substr($message, 4, 4)) != 80877102 && mkdir("$dir/begun")
					  if $starts;
					$answer = $answer_to->($message) unless $starts;
					$starts = 0;
					$seen{sent}++ if $answer eq 'commit';
					push @owed, $answer if $answer ne '';
				}
				push @{ $quiet{$last} }, $count{$last} - 1 if $last && $last ne $name;
				$last = $name;
				next unless $pass{$name};

				my $here = $count{$name}++ == $cut && $name eq $where && $is_first;
				if ($here && $how ne 'after')
				{
					put_all($socket{$other{$name}}, substr($message, 0, length($message) / 2))
					  if $how eq 'half';
					if ($how eq 'half' && $name eq 'server' && (@owed || !$seen{connected}))
					{
						setsockopt($client, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0));
						$select->remove($client);
						close($client);
					}
					$end->($name);
					$end->('client') if $name eq 'server';
					next;
				}
				# the message and the end come as one
				setsockopt($client, IPPROTO_TCP, TCP_CORK, 1) if $here && $name eq 'server';
				put_all($socket{$other{$name}}, $message);
				$end->($_) foreach $here ? ('client', 'server') : ();
				$seen{passed}++ if $answer eq 'commit';
				if ($name eq 'server' && $message =~ /^Z/)
				{
					my $ended = $seen{connected}++ ? shift(@owed) : '-';
					$connecting //= $count{server};
					$seen{answered}++ if $ended eq 'commit';
					$seen{finished}++ if $ended eq 'finish';
				}
			}
		}
	}
	return {
		%seen,
		is_first => $is_first // '',
		# ready to connect, and when it was set up
		connected => $seen{connected} > 1,
		owed => scalar(@owed),
		connecting => $connecting // '',
		torn => length($buffer{client}),
		said => join(',', @said),
		map({ $_ => $count{$_}, "quiet_$_" => join(',', @{ $quiet{$_} }) } 'client', 'server')
	};
}

my $proxy = fork();
die "could not fork: $!" unless defined $proxy;
if ($proxy == 0)
{
	$SIG{CHLD} = 'IGNORE';
	$SIG{PIPE} = 'IGNORE';
	while (my $client = $listener->accept)
	{
		print $tell "begins\n";
		next if fork();
		my $seen = serve($client, split(/,/, slurp_file("$dir/case")));
		print $tell join(' ', 'ends', map { "$_=$seen->{$_}" } sort keys %$seen), "\n";
		POSIX::_exit(0);
	}
	POSIX::_exit(0);
}
close($listener);
close($tell);
END { my $status = $?; kill('TERM', $proxy) if $proxy; $? = $status; }

# ---- what is done through it

$remote->safe_psql('postgres', 'CREATE TABLE t (id text); CREATE TABLE other (id text)');
$local->safe_psql('postgres', q{
	CREATE FUNCTION open(uri text, options jsonb DEFAULT '{}') RETURNS sessmgr.session LANGUAGE sql AS
		$$ SELECT sessmgr.open((sessmgr.create_session(uri, options => options)).factory) $$;
	CREATE FUNCTION in_call(uri text, id text) RETURNS void LANGUAGE sql AS
		$$ SELECT sessmgr.execute(uri, 'INSERT INTO t VALUES ($1)', id) $$;
	CREATE FUNCTION in_shape(uri text, id text) RETURNS text LANGUAGE sql AS
		$$ SELECT * FROM sessmgr.query(uri, 'INSERT INTO t VALUES ($1) RETURNING id', id) AS (id text) $$;
	CREATE FUNCTION in_session(uri text, id text) RETURNS void LANGUAGE plpgsql AS
		$$ DECLARE s sessmgr.session := open(uri);
		BEGIN
			PERFORM sessmgr.execute(s, 'INSERT INTO t VALUES ($1)', id);
			PERFORM sessmgr.commit(s);
		END $$;
	-- more of a session's life; the statement is prepared in it, and a stream
	-- of which the second rows are on their way when it is left
	CREATE FUNCTION in_life(uri text, id text) RETURNS void LANGUAGE plpgsql AS
		$$ DECLARE s sessmgr.session := open(uri); savepoint int;
		BEGIN
			PERFORM sessmgr.execute(s, 'INSERT INTO t VALUES ($1)', id);
			savepoint := sessmgr.begin_nested(s);
			PERFORM sessmgr.execute(s, 'INSERT INTO t VALUES ($1)', id || ' undone');
			PERFORM sessmgr.rollback_to(s, savepoint);
			PERFORM FROM sessmgr.stream(s, 'SELECT generate_series(1, 20)') AS (n int) LIMIT 1;
			PERFORM sessmgr.execute(s, 'INSERT INTO t VALUES ($1)', id);
			PERFORM FROM sessmgr.stream(s, 'SELECT generate_series(1, 20)') AS (n int) LIMIT 1;
			PERFORM sessmgr.commit(s);
		END $$;
	-- two transactions, and DISCARD ALL after each
	CREATE FUNCTION in_discard(uri text, id text) RETURNS void LANGUAGE plpgsql AS
		$$ DECLARE s sessmgr.session := open(uri, '{"pool_reset_on_return": "discard"}');
		BEGIN
			PERFORM sessmgr.execute(s, 'INSERT INTO t VALUES ($1)', id);
			PERFORM sessmgr.commit(s);
			PERFORM sessmgr.execute(s, 'INSERT INTO t VALUES ($1)', id || ' second');
			PERFORM sessmgr.commit(s);
		END $$;
	CREATE TABLE here (id text);
	CREATE FUNCTION in_joined(uri text, id text) RETURNS void LANGUAGE sql AS $$
		INSERT INTO here VALUES (id);
		SELECT sessmgr.execute(open(uri, '{"transaction": "joined"}'), 'INSERT INTO t VALUES ($1)', id) $$;
	-- with a second connection that nobody cuts, and which commits first or last
	CREATE FUNCTION in_both(targets text[], tables text[], id text) RETURNS void LANGUAGE sql AS $$
		INSERT INTO here VALUES (id);
		SELECT sessmgr.execute(open(t, '{"transaction": "joined"}'), format('INSERT INTO %I VALUES ($1)', u), id)
		FROM unnest(targets, tables) AS u (t, u) $$;
	CREATE FUNCTION in_first(uri text, id text) RETURNS void LANGUAGE sql AS
		$$ SELECT in_both(ARRAY[uri, 'remote'], ARRAY['t', 'other'], id) $$;
	CREATE FUNCTION in_last(uri text, id text) RETURNS void LANGUAGE sql AS
		$$ SELECT in_both(ARRAY['remote', uri], ARRAY['other', 't'], id) $$;
	CREATE FUNCTION in_two_phase(uri text, id text) RETURNS void LANGUAGE sql AS $$
		INSERT INTO here VALUES (id);
		SELECT sessmgr.execute(open(target, '{"transaction": "two_phase"}'), 'INSERT INTO t VALUES ($1)', id)
		FROM unnest(ARRAY['remote', uri]) AS target $$;
	CREATE TABLE pulled (id text);
	CREATE FUNCTION in_many(uri text, id text) RETURNS bigint LANGUAGE sql AS
		$$ SELECT sessmgr.execute_many(uri, 'INSERT INTO t VALUES ($1)', format('SELECT %L', id)) $$;
	CREATE FUNCTION in_pull(uri text, id text) RETURNS bigint LANGUAGE sql AS
		$$ SELECT sessmgr.pull(uri, format('INSERT INTO t VALUES (%L) RETURNING id', id), 'pulled') $$;
	CREATE FUNCTION in_push(uri text, id text) RETURNS bigint LANGUAGE sql AS
		$$ SELECT sessmgr.push(uri, format('SELECT %L', id), 't') $$});

# What commits, if not COMMIT ('': a statement); how many rows each commit makes;
# the error if the connection is found dead before COMMIT is sent, where that is
# looked for, and that of an unknown outcome, if not 08007; whether nothing comes
# between set-up and what commits; what the proxy must
# have seen on the way; whether connecting is cut, too; and whether something is
# to be compared in "here" and in "other".
my %cases = (
	in_call => { commits => '', connect => 1, at_once => 1 },
	in_shape => { commits => '' },
	in_session => { dead => '25P02', connect => 1 },
	in_life => {
		rows => [2], dead => '25P02',
		said => qr/,INSERT,SAVEPOINT,INSERT,ROLLBACK,.*,DECLARE,FETCH,FETCH,CLOSE,.*,DECLARE,FETCH,FETCH,CLOSE,COMMIT$/
	},
	in_discard => { rows => [1, 1], dead => '25P02', said => qr/COMMIT,DISCARD,.*COMMIT,DISCARD$/ },
	in_many => { dead => '08006' },
	in_pull => { dead => '08006' },
	in_push => { dead => '08006' },
	in_joined => { dead => '08006', here => 1, connect => 1 },
	in_first => { dead => '08006', here => 1, other => 1 },
	in_last => { dead => '08006', here => 1, other => 1 },
	in_two_phase => { commits => '.*PREPARE TRANSACTION', rows => [2], dead => '08006', here => 1, unknown => '08006' });

my $psql = psql($local);
my $there = psql($remote);

# Until nobody else is connected to the target any more
sub alone
{
	my $end = time() + $SessmgrTest::patience;
	my $others = q{SELECT count(*) FROM pg_stat_activity
		WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()};

	# more often than wait_for() looks: it is asked for more than a thousand times
	until ($there->value($others) == 0)
	{
		return 0 if time() > $end;
		sleep(0.005);
	}
	return 1;
}

my $telling = '';

# What the proxy has seen of the connections since the last call, when all of
# them have ended: of the first one, but with what was committed on any.
sub seen
{
	my $end = time() + $SessmgrTest::patience;
	my ($begun, @ended) = (0);

	until (@ended == $begun && grep { $_->{is_first} } @ended)
	{
		IO::Select->new($told)->can_read($end - time())
		  && sysread($told, $telling, 65536, length($telling))
		  or die 'the proxy does not come to an end';
		while ($telling =~ s/^(\w+)(.*)\n//)
		{
			$begun++ if $1 eq 'begins';
			push @ended, { $2 =~ /(\w+)=(\S*)/g } if $1 eq 'ends';
		}
	}
	my ($seen) = grep { $_->{is_first} } @ended;
	foreach my $other (grep { !$_->{is_first} } @ended)
	{
		$seen->{$_} += $other->{$_} foreach qw(sent passed answered finished torn);
		$seen->{said} .= ",$other->{said}";
	}
	return $seen;
}

# Finishes what is left of two-phase transactions, if there can be any.
sub recover
{
	my ($seen) = @_;

	return $there->value('SELECT count(*) FROM pg_prepared_xacts') == 0 unless $seen->{sent};
	$psql->value(q{SELECT count(*) FROM sessmgr.recover('remote')});
	$psql->value('SELECT sessmgr.reset()');
	return alone()
	  && $there->value('SELECT count(*) FROM pg_prepared_xacts') == 0
	  && $psql->value('SELECT count(*) FROM sessmgr.two_phase') == 0;
}

# What is wrong with the texts of what was reported
sub wrong_words
{
	my ($case, $state, $seen, $err) = @_;
	my @wrong;

	if ($state eq '08007' && exists $case->{other})
	{
		push @wrong, 'no detail of each target'
		  unless $err =~ /^DETAIL:  "[^\n]*": (?:unknown|committed|rolled back)[^\n]*\n.*^"[^\n]*": (?:unknown|committed|rolled back)/ms;
		push @wrong, 'no hint' unless $err =~ /^HINT:  Transaction mode "two_phase" makes/m;
	}
	elsif ($state eq '08007')
	{
		push @wrong, 'no detail' unless $err =~ /^DETAIL:  The connection was lost while it was on its way: \w/m;
		push @wrong, 'no hint' unless $err =~ /^HINT:  Look at the target before you repeat it\.$/m;
	}
	# a two-phase transaction that was left as it is, its fate, and what ends it
	my $left = !!($case->{unknown} && $seen->{sent} > $seen->{finished});
	my $fate = $state eq '' ? 'committed' : 'rolled back';
	push @wrong, 'the warning'
	  if $left != ($err =~ /WARNING:  08007: .*\nDETAIL:  "sessmgr_\w+" is to be $fate\.\nHINT:  Call sessmgr\.recover\(\) for this target\.$/m);
	push @wrong, '08007 elsewhere' if $state ne '08007' && !$left && $err =~ /08007|HINT/;
	return @wrong;
}

my $n = 0;

# Runs one case; returns what was reported, in short, what is wrong with it, and
# what the proxy has seen.
sub try
{
	my ($function, $where, $cut, $how) = @_;
	my $case = $cases{$function};
	my $id = join('_', $function, ++$n);
	my @full = @{ $case->{rows} // [1] };
	my @wrong;

	unlink("$dir/case");
	rmdir("$dir/begun");
	append_to_file("$dir/case", join(',', $case->{commits} // 'COMMIT', $where, $cut, $how));
	$psql->run("SELECT $function('$uri', '$id')");
	my ($state, $err) = @$psql{qw(last_state last_err)};
	$psql->value('SELECT sessmgr.reset()');
	my $seen = seen();
	push @wrong, 'a connection stays' unless alone();
	push @wrong, 'not recovered' if $case->{unknown} && !recover($seen);
	push @wrong, 'half a message' if $seen->{torn};

	# what was to be reported
	my $unknown = $seen->{sent} > $seen->{answered};
	my $dead = $case->{dead} && $seen->{connected} && !$seen->{owed} && $seen->{sent} < @full;
	my $right =
	    $seen->{answered} == @full ? ''
	  : $unknown ? $case->{unknown} // '08007'
	  : !$seen->{connected} ? '08001'
	  : $dead ? $case->{dead}
	  : '08006';
	push @wrong, "instead of '$right'" if $state ne $right;
	push @wrong, wrong_words($case, $state, $seen, $err);

	# what is to be there
	my ($rows, $second, $undone, $other) = split(/\|/, $there->value(qq{
		SELECT count(*) FILTER (WHERE id = '$id'), count(*) FILTER (WHERE id = '$id second'),
			count(*) FILTER (WHERE id = '$id undone'), (SELECT count(*) FROM other WHERE id = '$id') FROM t}));
	my @there = ($rows, $second)[ 0 .. $#full ];
	my $done = $seen->{answered};
	$done++ if $state eq '08007' && $seen->{passed} > $done && $there[$done];
	push @wrong, "rows: @there" if "@there" ne join(' ', map { $_ < $done ? $full[$_] : 0 } 0 .. $#full);
	push @wrong, 'rows of a savepoint' if $undone;
	push @wrong, 'not so here'
	  if $case->{here} && $psql->value("SELECT count(*) FROM here WHERE id = '$id'") != ($state eq '');
	if (exists $case->{other})
	{
		my ($said) = $err =~ /^(?:DETAIL:  )?"remote": (committed|rolled back)/m;
		push @wrong, 'what it says of the one that was not cut'
		  if $other != ($state eq '' || ($said // '') eq 'committed') || ($state eq '08007' && !$said);
		push @wrong, 'what it says of the one that was cut'
		  if $state eq '08007' && $err !~ /^(?:DETAIL:  )?"postgresql:[^"]*": unknown/m;
	}

	my $key = ($state eq '' ? 'success' : $state) . ($rows ? ', done' : ', not done') . ($dead ? ', found dead' : '');
	return ($key, @wrong ? "$where $cut $how: $key: " . join(', ', @wrong) . "\n$err" : (), $seen);
}

my $cuts = 0;
foreach my $function (sort keys %cases)
{
	my $case = $cases{$function};
	my (%seen, @wrong);
	my $start = time();
	my $one = sub {
		my ($key, @result) = try($function, @_);
		pop(@result);
		$seen{$key}++;
		push @wrong, @result;
		$cuts++;
	};

	my ($key, @result) = try($function, 'nowhere', 0, 'before');
	my $total = pop(@result);
	is(join("\n", $key, @result), 'success, done', "$function: works through the proxy");
	note("$function: $total->{client} messages there, $total->{server} back: $total->{said}");
	like($total->{said}, $case->{said}, "$function: does what it is to do") if $case->{said};

	foreach my $where ('client', 'server')
	{
		# the beginning is always the same
		my $from = $case->{connect} ? 0 : $where eq 'client' ? 1 : $total->{connecting};
		foreach my $cut ($from .. $total->{$where} - 1)
		{
			$one->($where, $cut, $_) foreach 'before', 'half';
		}
		$one->($where, $_, 'after') foreach split(/,/, $total->{"quiet_$where"});
	}
	# on a machine that is very busy, sessmgr may have come before the end
	my $dead = $case->{dead} ? "$case->{dead}, not done, found dead" : '';
	for (my $i = 0; $dead && !$seen{$dead} && $i < 10; $i++)
	{
		$one->('server', $_, 'after') foreach split(/,/, $total->{quiet_server});
	}

	note("$function: $_: $seen{$_}") foreach sort keys %seen;
	note(sprintf('%s: %.1f s', $function, time() - $start));
	is(join("\n", @wrong), '', "$function: all that is reported is true");
	ok($seen{'success, done'}, "$function: some succeeded");
	ok(($seen{'08006, not done'} || $case->{at_once}) && (!$case->{connect} || $seen{'08001, not done'}),
		"$function: some surely were not done");
	ok($seen{$dead}, "$function: some were found dead before COMMIT") if $dead;
	ok($seen{'08007, done'} && $seen{'08007, not done'},
		"$function: some were done and some were not, and neither was known") unless $case->{unknown};
}

cmp_ok($cuts, '>=', 500, "$cuts cuts");
$psql->quit;
$there->quit;
$local->stop;
$remote->stop;
done_testing();
