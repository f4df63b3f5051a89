# What is on the wire: BEGIN and savepoints travel with the statement after them,
# a statement is prepared and described in one round trip, and values are in
# binary form where both sides have the same.  A proxy between the servers writes
# down what the client sends.

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
my $dir = PostgreSQL::Test::Utils::tempdir;
my $listener = IO::Socket::INET->new(Listen => 20, LocalAddr => '127.0.0.1')
  or die "could not listen: $!";
my $port = $listener->sockport;
my $target = $remote->host . '/.s.PGSQL.' . $remote->port;

# A message in words; of a Bind, the forms of parameters and results.
sub words
{
	my ($message) = @_;
	my ($type, $body) = (substr($message, 0, 1), substr($message, 5));
	return "Q($1)" if $type eq 'Q' && $body =~ /^([^\0]*)/s;
	return "P($1)" if $type eq 'P' && $body =~ /^[^\0]*\0([^\0]*)/s;
	return $type unless $type eq 'B';
	my (undef, undef, $rest) = $body =~ /^([^\0]*)\0([^\0]*)\0(.*)$/s;
	my ($n) = unpack('n', $rest);
	my @params = unpack("x2n$n", $rest);
	my $at = 2 + 2 * $n;
	my ($values) = unpack("x${at}n", $rest);
	$at += 2;
	foreach (1 .. $values)
	{
		my $length = unpack('N', substr($rest, $at, 4));
		$at += 4 + ($length == 0xffffffff ? 0 : $length);
	}
	my ($m) = unpack("x${at}n", $rest);
	$at += 2;
	my @results = unpack("x${at}n$m", $rest);
	return "B(@params>@results)";
}

sub serve
{
	my ($client) = @_;
	my $server = IO::Socket::UNIX->new(Peer => $target) or return;
	my %buffer = (client => '', server => '');
	my %first = (client => 1, server => 0);
	my $select = IO::Select->new($client, $server);

	while (1)
	{
		foreach my $from ($select->can_read)
		{
			my $name = $from == $client ? 'client' : 'server';
			sysread($from, $buffer{$name}, 65536, length($buffer{$name})) or return;
			my $start = $first{$name};
			foreach my $message (whole_messages(\$buffer{$name}, \$first{$name}))
			{
				append_to_file("$dir/messages", words($message) . "\n")
				  if $name eq 'client' && !$start;
				$start = 0;
				put_all($name eq 'client' ? $server : $client, $message) or return;
			}
		}
	}
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
		serve($client);
		POSIX::_exit(0);
	}
	POSIX::_exit(0);
}
close($listener);
END { my $status = $?; kill('TERM', $proxy) if $proxy; $? = $status; }

$local->safe_psql('postgres', qq{
	CREATE SERVER wire FOREIGN DATA WRAPPER sessmgr
		OPTIONS (host '127.0.0.1', port '$port', dbname 'postgres', sslmode 'disable', gssencmode 'disable');
	CREATE USER MAPPING FOR CURRENT_USER SERVER wire;
	CREATE TYPE colour AS ENUM ('red', 'green')});
my $psql = psql($local);

# What a statement has the client send, in one line.
sub sends
{
	my ($sql, $expected, $name) = @_;
	unlink("$dir/messages");
	append_to_file("$dir/messages", '');
	$psql->value($sql);
	my $sent = join(' ', split(/\n/, slurp_file("$dir/messages")));
	# names are a connection's own
	$sent =~ s/sessmgr_[0-9a-f]{16}_/sessmgr_/g;
	is($sent, $expected, $name);
}

$psql->value(q{SELECT sessmgr.scalar('wire', 'SELECT 0')});

# preparing
my $one = q{SELECT sessmgr.scalar('wire', 'SELECT $1::text', 'a'::text)};
sends($one, 'P(SELECT $1::text) B(1>0) D E S', 'a statement seen for the first time is not prepared');
sends($one, 'P(SELECT $1::text) D S B(1>1) D E S', 'the second time it is prepared and described in one round trip');
sends($one, 'B(1>1) D E S', 'and from then on sent as it is');
sends(q{SELECT q FROM sessmgr.query('wire', 'SELECT 1') AS t(q int)}, 'P(SELECT 1) D S B(>1) D E S',
	'a query is prepared at once');
sends(q{SELECT q FROM sessmgr.query('wire', 'SELECT 1') AS t(q int)}, 'B(>1) D E S', 'and then as others');

# forms
sub forms
{
	my ($params, $declared, $sql, $expected, $name) = @_;
	my $call = "SELECT count(*) FROM sessmgr.query('wire', \$q\$$sql\$q\$$params) AS t($declared)";
	$psql->value($call);
	sends($call, "B($expected) D E S", $name);
}
forms(', 1, 2::bigint, now(), 1.5, ARRAY[1]', 'a int', 'SELECT $1 + ($2 > $4 AND $3 IS NOT NULL AND $5 IS NOT NULL)::int',
	'1 1 1 1 1>1', 'built-in types are sent in binary form');
forms(q{, 'red'::colour, '1.50'::money, 'pg_class'::regclass, 'x'}, 'a text',
	'SELECT $1::text || $2 || $3 || $4', '0 0 0 0>1', 'others, names of objects and literals as text');
forms(', NULL::int', 'a int', 'SELECT $1', '0>1', 'a NULL has no form');
forms('', 'a int, b text, c timestamptz', q{SELECT 1, 'x'::varchar, now()}, '>1', 'results in binary form');
forms('', 'a int, b text', q{SELECT 1, 2}, '>0', 'as text if a column is of another type than declared');
forms('', 'a int, b money', q{SELECT 1, '2'::money}, '>0', 'or of one that has none in common');
$psql->value(q{SET client_encoding = 'LATIN1'});
forms(', 1', 'a int', 'SELECT $1 + 1', '0>0', 'as text if the client has another encoding than the database');
$psql->value(q{RESET client_encoding});
$psql->value(q{ALTER SERVER wire OPTIONS (ADD binary 'off')});
forms(', 1', 'a int', 'SELECT $1 + 2', '0>0', 'as text if the option binary is off');
$psql->value(q{ALTER SERVER wire OPTIONS (DROP binary)});

# what travels together
$psql->value('BEGIN');
$psql->value(q{SELECT sessmgr.session_factory('wire') AS s \gset});
my $s = q{:'s'::sessmgr.session};
my $begin = 'P(BEGIN) B(>0) D E ';
sends(qq{SELECT sessmgr.execute($s, 'SELECT 1')}, "${begin}B(>0) D E S", 'BEGIN travels with the first statement');
sends(qq{SELECT sessmgr.execute($s, 'SELECT 2')}, 'P(SELECT 2) B(>0) D E S', 'and not with the second');
sends(qq{SELECT sessmgr.commit($s)}, 'Q(COMMIT)', 'COMMIT is by itself');
sends(qq{SELECT count(*) FROM sessmgr.query($s, 'SELECT 3') AS t(a int)}, "${begin}P(SELECT 3) D S B(>1) D E S",
	'where the statement is prepared first, BEGIN travels with that');
sends(qq{SELECT sessmgr.rollback($s)}, 'Q(ROLLBACK)', 'ROLLBACK is by itself');
$psql->value('COMMIT');

$psql->value(q{ALTER SERVER wire OPTIONS (ADD transaction 'joined')});
$psql->value('BEGIN');
$psql->value('SAVEPOINT a');
my $savepoint = sub { "P(SAVEPOINT sessmgr_$_[0]) B(>0) D E " };
sends(q{SELECT sessmgr.execute('wire', 'SELECT 4')}, $begin . $savepoint->(1) . 'P(SELECT 4) B(>0) D E S',
	'the savepoint of a joined transaction travels with BEGIN and the statement');
$psql->value('RELEASE a');
$psql->value('SAVEPOINT b');
sends(q{SELECT sessmgr.execute('wire', 'SELECT 5')},
	'P(RELEASE SAVEPOINT sessmgr_1) B(>0) D E ' . $savepoint->(2) . 'P(SELECT 5) B(>0) D E S',
	'and the next one with its own statement');
sends('ROLLBACK TO b', 'Q(ROLLBACK TO SAVEPOINT sessmgr_2; RELEASE SAVEPOINT sessmgr_2)', 'going back is by itself');
sends('COMMIT', 'Q(COMMIT)', 'the end');

# DISCARD ALL here
$psql->value('DISCARD ALL');
my $discard = 'P(DISCARD ALL) B(>0) D E ' . join('', map { "P(SET $_) B(>0) D E " } q{client_encoding = 'UTF8'},
	q{datestyle = 'ISO, YMD'}, q{intervalstyle = 'postgres'}, q{extra_float_digits = '3'}, q{bytea_output = 'hex'}, q{array_nulls = 'on'},
	q{lc_monetary = 'C'}, q{client_connection_check_interval = '2s'});
sends($one, $discard . $begin . 'P(SELECT $1::text) B(1>0) D E S Q(COMMIT)',
	'the target discards in the round trip of the next use');
sends($one, $begin . 'P(SELECT $1::text) D S B(1>1) D E S Q(COMMIT)', 'and that is all');
$psql->value(q{ALTER SERVER wire OPTIONS (DROP transaction)});
$psql->value('DISCARD ALL');
sends($one, $discard . 'P(SELECT $1::text) B(1>0) D E S', 'the same outside of a transaction');
sends($one, 'P(SELECT $1::text) D S B(1>1) D E S', 'and that is all');

$psql->quit;
done_testing();
