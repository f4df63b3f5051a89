# Targets that have far too much to say, unasked: nobody waits for its end.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use IO::Socket::INET;
use POSIX ();
use PostgreSQL::Test::Utils;
use SessmgrTest;
use Test::More;
use Time::HiRes qw(sleep);

sub message { return $_[0] . pack('N', 4 + length($_[1])) . $_[1]; }
sub parameter { return message('S', "$_[0]\0$_[1]\0"); }

my $ready = message('Z', 'I');
my $done = message('C', "SET\0") . $ready;

# The answer to the statement that sets up a connection: our process id
sub set_up
{
	return message('T', pack('n', 1) . "pg_backend_pid\0" . pack('NnNnNn', 0, 0, 23, 4, 0xffffffff, 0))
	  . message('D', pack('nN/a*', 1, "$$")) . message('C', "SELECT 1\0");
}

my %flood = (idle => parameter('TimeZone', 'UTC') x 1000,
	ping => message('I', '') x 1000);

my $dir = PostgreSQL::Test::Utils::tempdir;

# Says all that the kernel will keep for who does not read.  Whoever reads it
# then meets no gap, as there might be while another process is still writing.
sub fill
{
	my ($to, $data) = @_;
	my $refused = 0;
	$to->blocking(0);
	for (my $at = 0; $refused < 100;)
	{
		if (my $n = syswrite($to, $data, length($data) - $at, $at))
		{
			$at = ($at + $n) % length($data);
			$refused = 0;
		}
		elsif ($!{EAGAIN}) { $refused++; sleep(0.005); }
		else { return; }
	}
	$to->blocking(1);
}

# What serves one connection: floods when its time has come, until it is closed
sub serve
{
	my ($client, $kind) = @_;
	my ($buffer, $first, $queries) = ('', 1, 0);
	my $hello = message('R', pack('N', 0)) . message('K', pack('NN', $$, 1)) . join('',
		parameter('server_version', '15.0'), parameter('server_encoding', 'UTF8'),
		parameter('client_encoding', 'UTF8'), parameter('integer_datetimes', 'on'),
		parameter('standard_conforming_strings', 'on'), parameter('DateStyle', 'ISO, MDY'),
		parameter('IntervalStyle', 'postgres'), parameter('TimeZone', 'UTC'));

	while (sysread($client, $buffer, 65536, length($buffer)))
	{
		foreach my $message (whole_messages(\$buffer, \$first))
		{
			my $type = substr($message, 0, 1);
			if ($type eq "\0" && substr($message, 4) =~ /^\x04\xd2\x16\x2f|^\x04\xd2\x16\x30/)
			{
				put_all($client, 'N');
				$first = 1;
			}
			elsif ($type eq "\0") { put_all($client, $hello . $ready); }
			elsif ($type eq 'Q')
			{
				my $flood = $kind eq 'setup' ? 'setup' : $kind eq 'ping' && $queries > 0 ? 'ping' : '';
				$queries++;
				while ($flood) { put_all($client, $flood{$flood} // set_up() x 1000) or return; }
				put_all($client, $message =~ /pg_backend_pid/ ? set_up() . $ready : $done);
			}
			elsif ($type eq 'S')
			{
				put_all($client, message('1', '') . message('2', '') . message('n', '') . $done);
				if ($kind eq 'idle')
				{
					fill($client, $flood{idle});
					append_to_file("$dir/idle", '');
				}
			}
		}
	}
}

my @servers;
END { my $status = $?; kill('KILL', @servers); $? = $status; }

# A server whose first connection floods; the others are as they should be
sub start_server
{
	my ($kind) = @_;
	my $socket = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1') or die "could not listen: $!";
	my $pid = fork() // die "could not fork: $!";
	if ($pid == 0)
	{
		local $SIG{CHLD} = 'IGNORE';
		local $SIG{PIPE} = 'IGNORE';
		my $n = 0;
		while (my $client = $socket->accept)
		{
			my $this = $n++ == 0 ? $kind : 'well';
			my $child = fork() // die "could not fork: $!";
			if ($child == 0)
			{
				serve($client, $this);
				POSIX::_exit(0);
			}
		}
		POSIX::_exit(0);
	}
	push @servers, $pid;
	return $socket->sockport;
}

my $local = new_node('local');
$local->safe_psql('postgres', 'CREATE EXTENSION sessmgr');
foreach my $kind (qw(idle setup ping))
{
	my $port = start_server($kind);
	$local->safe_psql('postgres', qq{
		CREATE SERVER $kind FOREIGN DATA WRAPPER sessmgr OPTIONS (host '127.0.0.1', port '$port',
			connect_timeout '5s', pool_pre_ping '} . ($kind eq 'ping' ? 'on' : 'off') . qq{');
		CREATE USER MAPPING FOR CURRENT_USER SERVER $kind});
}

my $psql = psql($local);
my $execute = q{SELECT sessmgr.execute('%s', 'anything')};

$psql->value("SET statement_timeout = '60s'");
$psql->is(sprintf($execute, 'idle'), 0, 'a target that will flood an idle connection');
ok(wait_for(sub { -e "$dir/idle" }), 'does so');
$psql->is(sprintf($execute, 'idle'), 0, 'that connection is not used again');
$psql->is(q{SELECT connects FROM sessmgr.engines WHERE dburi = 'idle'}, 2, 'but another one');

$psql->fails(sprintf($execute, 'setup'), '08001', 'a target that floods while it is set up');
like($psql->{last_err}, qr/It has answered twice/, 'which is said');
$psql->is(sprintf($execute, 'setup'), 0, 'works again');

$psql->is(sprintf($execute, 'ping'), 0, 'a target that will flood a ping');
$psql->is(sprintf($execute, 'ping'), 0, 'that connection is not used again');
$psql->is(q{SELECT connects FROM sessmgr.engines WHERE dburi = 'ping'}, 2, 'but another one');

$psql->quit;
$local->stop;
done_testing();
