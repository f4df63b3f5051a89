# prepare_models() where the target cannot be connected to at once, and where
# somebody keeps the lock of those who make models.

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

my ($local, $remote) = new_pair();
my $target = $remote->host . '/.s.PGSQL.' . $remote->port;
my $dir = PostgreSQL::Test::Utils::tempdir;
my $lock = '1936028531, 7169906';    # as in doc/models.md
my $psql = psql($local);
my $there = psql($remote);

sub fatal
{
	my $body = "SFATAL\0VFATAL\0C$_[0]\0M$_[1]\0\0";
	return 'E' . pack('N', 4 + length($body)) . $body;
}

# Passes on what both sides say
sub relay
{
	my ($client) = @_;
	my $server = IO::Socket::UNIX->new(Peer => $target) or return;
	my $select = IO::Select->new($client, $server);
	while (1)
	{
		foreach my $from ($select->can_read)
		{
			sysread($from, my $data, 65536) or return;
			put_all($from == $client ? $server : $client, $data) or return;
		}
	}
}

my @servers;
END { my $status = $?; kill('-KILL', @servers); $? = $status; }

# The first $times connections get $answer (undef: silence), others the server
sub start_target
{
	my ($name, $times, $answer, $socket) = @_;
	$socket //= IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1') or die "could not listen: $!";
	my $pid = fork() // die "could not fork: $!";
	if ($pid == 0)
	{
		POSIX::setpgid(0, 0);
		close($_->{in}) foreach ($psql, $there);    # or they would see no end of it
		local $SIG{CHLD} = 'IGNORE';
		local $SIG{PIPE} = 'IGNORE';
		for (my $n = 1; my $client = $socket->accept; $n++)
		{
			append_to_file("$dir/$name", "x");
			my $child = fork() // die "could not fork: $!";
			next if $child;
			if ($n > $times) { relay($client); POSIX::_exit(0); }
			sysread($client, my $buffer, 65536);
			# first of all it wants to know of encryption
			if ($buffer =~ /^\0\0\0\x08/) { put_all($client, 'N'); sysread($client, $buffer, 65536); }
			sleep(600) unless defined $answer;
			put_all($client, $answer);
			POSIX::_exit(0);
		}
		POSIX::_exit(0);
	}
	push @servers, $pid;
	my $port = $socket->sockport;
	$local->safe_psql('postgres', qq{
		CREATE SERVER $name FOREIGN DATA WRAPPER sessmgr
			OPTIONS (host '127.0.0.1', port '$port', dbname 'postgres', connect_timeout '2');
		CREATE USER MAPPING FOR CURRENT_USER SERVER $name});
}

sub prepare { return "SELECT sessmgr.prepare_models(sessmgr.get_engine('$_[0]'))"; }

# Wait until what was started says that it does
sub tries_again
{
	my $err = '';
	return wait_for(sub {
		IO::Select->new($psql->{err})->can_read(0) and sysread($psql->{err}, $err, 65536, length($err));
		$err =~ /retry 1 after: could not connect/ });
}

sub connects { return -s "$dir/$_[0]" // 0; }

$psql->value(q{CREATE TABLE diary (id int PRIMARY KEY, line text); SELECT sessmgr.add_model('diary')});

# ---- what is tried again

foreach my $case (
	[ 'starting', 3, fatal('57P03', 'the database system is starting up') ],
	[ 'lost', 3, '' ])
{
	my ($name, $times, $answer) = @$case;
	start_target($name, $times, $answer);
	$there->value('DROP TABLE IF EXISTS diary');
	$psql->is(prepare($name), 1, "$name: tried again until it is there");
	cmp_ok(connects($name), '>', $times, '... which took some attempts');
}

my $refusing = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Proto => 'tcp') or die "no port: $!";
my $port = $refusing->sockport;
close($refusing);
$local->safe_psql('postgres', qq{
	CREATE SERVER refusing FOREIGN DATA WRAPPER sessmgr
		OPTIONS (host '127.0.0.1', port '$port', dbname 'postgres');
	CREATE USER MAPPING FOR CURRENT_USER SERVER refusing});
$there->value('DROP TABLE IF EXISTS diary');
$psql->value('SET client_min_messages = debug1');
$psql->start(prepare('refusing'));
ok(tries_again(), 'refused: tried again');
start_target('there_now', 0, '', IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1',
	LocalPort => $port, ReuseAddr => 1));
is(($psql->finish)[0], 1, '... until it is there');

# one that cannot even be begun
$local->safe_psql('postgres', q{
	CREATE SERVER unreachable FOREIGN DATA WRAPPER sessmgr OPTIONS (hostaddr '255.255.255.255', dbname 'postgres');
	CREATE USER MAPPING FOR CURRENT_USER SERVER unreachable});
$psql->start(prepare('unreachable'));
ok(tries_again(), 'unreachable: tried again');
$local->safe_psql('postgres', "SELECT pg_cancel_backend($psql->{pid})");
$psql->fails(undef, '57014', '... until it is canceled');
$psql->value('RESET client_min_messages');

# ---- what is not

foreach my $case (
	[ 'unwelcome', 99, fatal('28P01', 'no entry') ],
	[ 'crowded', 99, fatal('53300', 'too many') ],
	[ 'silent', 99, undef ])
{
	my ($name, $times, $answer) = @$case;
	start_target($name, $times, $answer);
	$psql->fails(prepare($name), '08001', "$name: an error");
	is(connects($name), 1, '... at once');
}

# ---- somebody keeps the lock

$there->value('DROP TABLE IF EXISTS diary');
new_server($local, $remote, 'brief', "statement_timeout '2s'");
my $pid = $there->value('SELECT pg_backend_pid()');
$there->value("SET application_name = 'stalled'; BEGIN; SELECT pg_advisory_xact_lock($lock)");
$psql->fails(prepare('brief'), '55P03', 'a lock that is kept ends the wait');
like($psql->{last_err}, qr/^DETAIL:  .*\(1936028531, 7169906\).* process $pid, .*"stalled", idle in transaction/m,
	'... which says who keeps it');
$psql->is('SELECT sum(idle) FROM sessmgr.engines', $psql->value('SELECT count(*) FROM sessmgr.connections'),
	'... and leaves nothing under way');
$there->value('COMMIT');
$psql->is(prepare('brief'), 1, 'and when it is free the next call does it');

$_->quit foreach ($psql, $there);
done_testing();
