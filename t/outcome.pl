# What is said of a statement whose connection is cut must be true.  A proxy
# between the servers cuts it after each message in each direction, at its end
# or in its middle, and what was reported is compared with what is there; for
# a two-phase transaction, after recover().

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

my ($local, $remote) = new_pair(remote => "max_prepared_transactions = 10\n");
my $dir = PostgreSQL::Test::Utils::tempdir;
my $listener = IO::Socket::INET->new(Listen => 20, LocalAddr => '127.0.0.1')
  or die "could not listen: $!";
my $port = $listener->sockport;
my $uri = "postgresql://127.0.0.1:$port/postgres?sslmode=disable&gssencmode=disable";
my $target = $remote->host . '/.s.PGSQL.' . $remote->port;

# One connection.  Cuts before the message number $cut in direction $where,
# having passed on half of it if $half.  A cut from the client to the server
# lets the server say what it has to say.
sub serve
{
	my ($client, $where, $cut, $half) = @_;
	my $server = IO::Socket::UNIX->new(Peer => $target) or return;
	my %other = (client => $server, server => $client);
	my %buffer = (client => '', server => '');
	my %first = (client => 1, server => 0);
	my %count = (client => 0, server => 0);
	my $select = IO::Select->new($client, $server);

	while ($select->count)
	{
		foreach my $from ($select->can_read)
		{
			my $name = $from == $client ? 'client' : 'server';
			my $n = sysread($from, $buffer{$name}, 65536, length($buffer{$name}));
			if (!$n)
			{
				return \%count if $name eq 'server';
				$select->remove($from);
				shutdown($server, 1);
				next;
			}
			foreach my $message (whole_messages(\$buffer{$name}, \$first{$name}))
			{
				if ($name eq $where && $count{$name} == $cut)
				{
					put_all($other{$name}, substr($message, 0, length($message) / 2)) if $half;
					return \%count if $name eq 'server';
					$select->remove($from);
					shutdown($server, 1);
					last;
				}
				$count{$name}++;
				put_all($other{$name}, $message);
			}
		}
	}
	return \%count;
}

my $proxy = fork();
die "could not fork: $!" unless defined $proxy;
if ($proxy == 0)
{
	$SIG{CHLD} = 'IGNORE';
	$SIG{PIPE} = 'IGNORE';
	while (my $client = $listener->accept)
	{
		next if fork();
		my ($where, $cut, $half) = split(/ /, slurp_file("$dir/cut"));
		my $count = serve($client, $where, $cut, $half);
		append_to_file("$dir/counts", "$count->{client} $count->{server}\n") if $where eq 'nowhere';
		POSIX::_exit(0);
	}
	POSIX::_exit(0);
}
close($listener);
END { my $status = $?; kill('TERM', $proxy) if $proxy; $? = $status; }

$remote->safe_psql('postgres', 'CREATE TABLE t (id text)');
$local->safe_psql('postgres', q{
	CREATE FUNCTION in_call(uri text, id text) RETURNS void LANGUAGE sql AS
		$$ SELECT sessmgr.execute(uri, 'INSERT INTO t VALUES ($1)', id) $$;
	CREATE FUNCTION in_shape(uri text, id text) RETURNS text LANGUAGE sql AS
		$$ SELECT * FROM sessmgr.query(uri, 'INSERT INTO t VALUES ($1) RETURNING id', id) AS (id text) $$;
	CREATE FUNCTION in_session(uri text, id text) RETURNS void LANGUAGE plpgsql AS
		$$ DECLARE s sessmgr.session := sessmgr.open((sessmgr.create_session(uri)).factory);
		BEGIN
			PERFORM sessmgr.execute(s, 'INSERT INTO t VALUES ($1)', id);
			PERFORM sessmgr.commit(s);
		END $$;
	CREATE TABLE here (id text);
	CREATE FUNCTION in_joined(uri text, id text) RETURNS void LANGUAGE sql AS $$
		INSERT INTO here VALUES (id);
		SELECT sessmgr.execute(sessmgr.open((sessmgr.create_session(uri,
				options => '{"transaction": "joined"}')).factory), 'INSERT INTO t VALUES ($1)', id) $$;
	-- with a second connection that nobody cuts
	CREATE FUNCTION in_two_phase(uri text, id text) RETURNS void LANGUAGE sql AS $$
		INSERT INTO here VALUES (id);
		SELECT sessmgr.execute(sessmgr.open((sessmgr.create_session(target,
				options => '{"transaction": "two_phase"}')).factory), 'INSERT INTO t VALUES ($1)', id)
		FROM unnest(ARRAY['remote', uri]) AS target $$;
	CREATE TABLE pulled (id text);
	CREATE FUNCTION in_many(uri text, id text) RETURNS bigint LANGUAGE sql AS
		$$ SELECT sessmgr.execute_many(uri, 'INSERT INTO t VALUES ($1)', format('SELECT %L', id)) $$;
	CREATE FUNCTION in_pull(uri text, id text) RETURNS bigint LANGUAGE sql AS
		$$ SELECT sessmgr.pull(uri, format('INSERT INTO t VALUES (%L) RETURNING id', id), 'pulled') $$;
	CREATE FUNCTION in_push(uri text, id text) RETURNS bigint LANGUAGE sql AS
		$$ SELECT sessmgr.push(uri, format('SELECT %L', id), 't') $$});
my $psql = psql($local);
my $there = psql($remote);

# Until nobody else is connected to the target any more
sub alone
{
	wait_for(
		sub {
			$there->value(q{SELECT count(*) FROM pg_stat_activity
				WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()}) == 0;
		});
}

# Finishes what is left of two-phase transactions.
sub recover
{
	$psql->value(q{SELECT count(*) FROM sessmgr.recover('remote')});
	$psql->value('SELECT sessmgr.reset()');
	alone();
	return $there->value('SELECT count(*) FROM pg_prepared_xacts') == 0
	  && $psql->value('SELECT count(*) FROM sessmgr.two_phase') == 0;
}

# Runs one case; returns what was reported, how many rows are there, and whether
# here is what should be.
sub try
{
	my ($function, $where, $cut, $half) = @_;
	my $id = join('_', $function, $where, $cut, $half);

	unlink("$dir/cut");
	append_to_file("$dir/cut", "$where $cut $half");
	$psql->value('SELECT sessmgr.reset()');
	$psql->run("SELECT $function('$uri', '$id')");
	my $reported = $psql->{last_state};
	$psql->value('SELECT sessmgr.reset()');
	alone();
	my $right = $function ne 'in_two_phase' || recover();
	my $rows = $there->value("SELECT count(*) FROM t WHERE id = '$id'");
	if ($function =~ /joined|two_phase/)
	{
		$right &&= $psql->value("SELECT count(*) FROM here WHERE id = '$id'") == ($reported eq '');
	}
	return ($reported, $rows, $right);
}

my $cuts = 0;
foreach my $function ('in_call', 'in_shape', 'in_session', 'in_many', 'in_pull', 'in_push', 'in_joined', 'in_two_phase')
{
	my $all = $function eq 'in_two_phase' ? 2 : 1;
	my %seen;
	my @wrong;
	my ($reported, $rows, $right) = try($function, 'nowhere', 0, 0);

	is("$reported $rows", " $all", "$function: works through the proxy");
	wait_for(sub { -s "$dir/counts" });
	my %total;
	@total{qw(client server)} = split(/ /, (split(/\n/, slurp_file("$dir/counts")))[0]);
	unlink("$dir/counts");
	note("$function: $total{client} messages there, $total{server} back");

	foreach my $where ('client', 'server')
	{
		foreach my $cut (0 .. $total{$where})
		{
			foreach my $half (0, 1)
			{
				($reported, $rows, $right) = try($function, $where, $cut, $half);
				my $key = ($reported eq '' ? 'success' : $reported) . ($rows ? ', done' : ', not done');
				$seen{$key}++;
				$cuts++;
				push @wrong, "$where $cut $half: $key, $rows rows" . ($right ? '' : ', not so here')
				  if !$right || ($rows != 0 && $rows != $all)
				  || ($reported eq '' ? $rows == 0 : $reported ne '08007' && $rows != 0);
			}
		}
	}
	unlink("$dir/counts");
	note("$function: $_: $seen{$_}") foreach sort keys %seen;
	is(join("\n", @wrong), '', "$function: all that is reported is true");
	ok($seen{'success, done'}, "$function: some succeeded");
	if ($function eq 'in_two_phase')
	{
		is(join(' ', grep { /^08007/ } keys %seen), '', "$function: nothing is unknown");
	}
	else
	{
		ok($seen{'08007, done'}, "$function: some were done but not known to be");
	}
	ok((grep { /^(?:08006|08001|57P01), not done/ } keys %seen), "$function: some surely were not");
	is(join(' ', grep { !/^(?:success|08001|08006|08007|57P01)/ } keys %seen), '',
		"$function: no other errors");
}

note("$cuts cuts");
$psql->quit;
$there->quit;
$local->stop;
$remote->stop;
done_testing();
