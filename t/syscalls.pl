# How many system calls a statement takes.  A one-liner looks at its connection's
# socket, sends, waits and reads; a statement in a session need not look.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use POSIX ();
use PostgreSQL::Test::Utils;
use SessmgrTest;
use Test::More;

my ($strace) = grep { -x } map { "$_/strace" } split(/:/, $ENV{PATH});
plan(skip_all => 'there is no strace: install the package of that name') unless $strace;

my ($local, $remote) = new_pair(local => "autovacuum = off\n");
my $dir = PostgreSQL::Test::Utils::tempdir;
my $psql = psql($local);
my $s = q{:'s'::sessmgr.session};

# The system calls of psql's backend during a statement, one a line; nothing if
# it cannot be traced, and then $why says why.
my $why;

sub traced
{
	my ($statement) = @_;
	unlink("$dir/messages", "$dir/calls");
	my $pid = fork();
	die "could not fork: $!" unless defined $pid;
	if ($pid == 0)
	{
		open(STDERR, '>', "$dir/messages");
		exec($strace, '-o', "$dir/calls", '-p', $psql->{pid}) or POSIX::_exit(1);
	}
	my $ended = 0;
	wait_for(sub {
			$ended = waitpid($pid, POSIX::WNOHANG());
			$why = -e "$dir/messages" ? slurp_file("$dir/messages") : '';
			return $ended || $why =~ /attached/;
		});
	return if $ended;
	$psql->value($statement);
	kill('INT', $pid);
	waitpid($pid, 0);
	return grep { /^\w+\(/ } split(/\n/, slurp_file("$dir/calls"));
}

# Test what one of many calls takes.  Some may take more: signals come.
sub takes
{
	my ($function, $limit, $name) = @_;
	my $calls = 1000;
	$psql->value(sprintf($function, 10));
	my @few = traced(sprintf($function, 10));
	my @many = traced(sprintf($function, 10 + $calls));
	my $each = (@many - @few) / $calls;
	note("$name: $each");
	cmp_ok($each, '>', $limit - 0.2, "$name: all are seen");
	cmp_ok($each, '<', $limit + 0.2, "$name: $limit system calls")
	  || diag(join("\n", @many[ -30 .. -1 ]));
}

unless (traced('SELECT 1'))
{
	$psql->quit;
	$_->stop foreach ($local, $remote);
	chomp $why;
	plan(skip_all => "a backend cannot be traced here: $why");
}

$remote->safe_psql('postgres',
	'CREATE TABLE kv (k int PRIMARY KEY, v text); INSERT INTO kv SELECT i, i FROM generate_series(1, 2000) i');
$local->safe_psql('postgres', q{
	CREATE FUNCTION line(n int) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE x text; BEGIN
		FOR i IN 1..n LOOP x := sessmgr.scalar('remote', 'SELECT v FROM kv WHERE k = $1', i); END LOOP;
	END $$;
	CREATE FUNCTION line_as(n int) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE x int; BEGIN
		FOR i IN 1..n LOOP x := sessmgr.scalar_as(NULL::int, 'remote', 'SELECT v::int FROM kv WHERE k = $1', i); END LOOP;
	END $$;
	CREATE FUNCTION line_update(n int) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE x bigint; BEGIN
		FOR i IN 1..n LOOP x := sessmgr.execute('remote', 'UPDATE kv SET v = v WHERE k = $1', i); END LOOP;
	END $$;
	CREATE FUNCTION in_session(s sessmgr.session, n int) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE x text; BEGIN
		FOR i IN 1..n LOOP x := sessmgr.scalar(s, 'SELECT v FROM kv WHERE k = $1', i); END LOOP;
	END $$;
	CREATE FUNCTION in_session_as(s sessmgr.session, n int) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE x int; BEGIN
		FOR i IN 1..n LOOP x := sessmgr.scalar_as(NULL::int, s, 'SELECT v::int FROM kv WHERE k = $1', i); END LOOP;
	END $$});

takes('SELECT line(%d)', 4, 'scalar');
takes('SELECT line_as(%d)', 4, 'scalar_as');
takes('SELECT line_update(%d)', 4, 'execute');
$psql->open('s', 'remote');
takes("SELECT in_session($s, %d)", 3, 'scalar in a session');
takes("SELECT in_session_as($s, %d)", 3, 'scalar_as in a session');
$psql->open('s', 'remote', '{"hold": true, "transaction": "autocommit"}');
takes("SELECT in_session($s, %d)", 4, 'scalar in a session with autocommit');

$psql->quit;
$local->stop;
$remote->stop;
done_testing();
