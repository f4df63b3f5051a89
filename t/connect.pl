# Making a connection: several hosts and addresses, what a target may do before
# the connection is there, and whether the server's environment has a say in it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use IO::Socket::INET;
use POSIX ();
use PostgreSQL::Test::Utils;
use SessmgrTest;
use Test::More;

sub message { return $_[0] . pack('N', 4 + length($_[1])) . $_[1]; }
sub parameter { return message('S', "$_[0]\0$_[1]\0"); }
sub fatal { return message('E', "SFATAL\0VFATAL\0C$_[0]\0M$_[1]\0\0"); }

my $ready = message('Z', 'I');
my $hello = message('R', pack('N', 0)) . message('K', pack('NN', 4711, 1)) . join('',
	parameter('server_version', '15.0'), parameter('server_encoding', 'UTF8'),
	parameter('client_encoding', 'UTF8'), parameter('integer_datetimes', 'on'),
	parameter('standard_conforming_strings', 'on'), parameter('DateStyle', 'ISO, MDY'),
	parameter('IntervalStyle', 'postgres'), parameter('TimeZone', 'UTC'));

# Says it for ever, or until 2 GB are said
sub flood
{
	my ($client, $make) = @_;
	for (my $i = 0; $i < 20000; $i++) { put_all($client, $make->($i)) or return; }
	sleep(600);
}

# What targets do, by their names
my $blank = 'x' x 1000;
my %targets = (
	silent => sub { sleep(600); },
	closes => sub { },
	starting => sub { put_all($_[0], fatal('57P03', 'the database system is starting up')); },
	refuses => sub { put_all($_[0], fatal('28P01', 'no entry')); },
	gone => sub { put_all($_[0], $hello . $ready); },
	ended => sub {
		my ($client) = @_;
		put_all($client, $hello . $ready);
		sysread($client, my $buffer, 65536);
		put_all($client, fatal('57P01', 'shutting down now'));
	},
	deaf => sub { put_all($_[0], $hello . $ready); sleep(600); },
	notices => sub {
		put_all($_[0], $hello);
		flood($_[0], sub { message('N', "SNOTICE\0VNOTICE\0C00000\0M$blank\0\0") x 100 });
	},
	parameters => sub {
		put_all($_[0], $hello);
		flood($_[0], sub { my ($n) = @_; join('', map { parameter("p$n.$_", $blank) } 1 .. 100) });
	},
	# one notice that does not end
	notice => sub {
		put_all($_[0], $hello . 'N' . pack('N', 1_000_000_000) . "SNOTICE\0M");
		flood($_[0], sub { $blank x 100 });
	});

my %port;
my @servers;
# with those that serve a connection each
END { my $status = $?; kill('-KILL', @servers); $? = $status; }

# Listens on $address, or a port of its own, for $name
sub start_target
{
	my ($name, $address) = @_;
	my $socket = IO::Socket::INET->new(Listen => 5, LocalAddr => $address // '127.0.0.1')
	  or die "could not listen: $!";
	my $pid = fork() // die "could not fork: $!";
	if ($pid == 0)
	{
		POSIX::setpgid(0, 0);
		local $SIG{CHLD} = 'IGNORE';
		local $SIG{PIPE} = 'IGNORE';
		while (my $client = $socket->accept)
		{
			my $child = fork() // die "could not fork: $!";
			next if $child;
			my $buffer = '';
			# refuse encryption, and take the first message
			while (sysread($client, $buffer, 65536))
			{
				last if $buffer !~ /^\0\0\0\x08\x04\xd2\x16[\x2f\x30]$/;
				put_all($client, 'N');
			}
			$targets{$name}->($client);
			POSIX::_exit(0);
		}
		POSIX::_exit(0);
	}
	push @servers, $pid;
	$port{$name} = $socket->sockport unless $address;
}
start_target($_) foreach sort keys %targets;

# ---- the environment of the server

my $remote = new_node('remote', "listen_addresses = '127.0.0.1'\n");
my $standby = new_node('other', "default_transaction_read_only = on\nlisten_addresses = '127.0.0.1'\n");
my ($host, $there) = ($remote->host, $remote->port);
# the home directory is that of the server's user, whatever its environment says
my $home = PostgreSQL::Test::Utils::tempdir;
append_to_file("$home/.pg_service.conf", "[athome]\nhost=$host\nport=$there\n");
my %environment = (
	HOME => $home,
	PGHOST => '/nowhere', PGHOSTADDR => '127.0.0.9', PGPORT => '1', PGDATABASE => 'nothing', PGUSER => 'nobody',
	PGPASSWORD => 'wrong', PGPASSFILE => '/nowhere/passfile', PGSERVICE => 'nowhere', PGSERVICEFILE => '/nowhere/service',
	PGSYSCONFDIR => '/nowhere', PGOPTIONS => '-c work_mem=77MB', PGAPPNAME => 'environment', PGSSLMODE => 'verify-full',
	PGREQUIRESSL => '1', PGSSLROOTCERT => '/nowhere/root', PGSSLCERT => '/nowhere/cert', PGSSLKEY => '/nowhere/key',
	PGSSLCRL => '/nowhere/crl', PGSSLCRLDIR => '/nowhere', PGSSLSNI => 'x', PGSSLCOMPRESSION => 'x',
	PGSSLMINPROTOCOLVERSION => 'TLSv9', PGSSLMAXPROTOCOLVERSION => 'TLSv9', PGREQUIREPEER => 'nobody',
	PGKRBSRVNAME => 'x', PGGSSLIB => 'x', PGGSSENCMODE => 'require', PGGSSDELEGATION => 'x',
	PGCHANNELBINDING => 'require', PGREQUIREAUTH => 'gss', PGCONNECT_TIMEOUT => '1', PGCLIENTENCODING => 'LATIN1',
	PGTARGETSESSIONATTRS => 'standby', PGLOADBALANCEHOSTS => 'nonsense', PGMINPROTOCOLVERSION => '9.9',
	PGMAXPROTOCOLVERSION => '9.9', PGSSLNEGOTIATION => 'direct', PGSSLCERTMODE => 'require',
	PGDATESTYLE => 'German', PGTZ => 'Asia/Kathmandu', PGGEQO => 'off', PGREPLICATION => 'x');
my ($resolver) = grep { -e } map { chomp; "$_/resolver.so" } `pg_config --pkglibdir`;
$environment{LD_PRELOAD} = $resolver if $resolver;
my $local = PostgreSQL::Test::Cluster->new('local');
$local->init;
$local->append_conf('postgresql.conf', "fsync = off\nlog_statement = none\nlisten_addresses = '127.0.0.1'\n");
{
	# not those that pg_ctl itself needs to see the server start
	my %kept;
	$local->start;
	my $data = $local->data_dir;
	my $log = $local->logfile;
	$local->stop;
	local %ENV = %ENV;
	$ENV{$_} = $environment{$_} foreach keys %environment;
	# pg_ctl looks at the port in postmaster.pid only
	system('pg_ctl', '-D', $data, '-l', $log, '-o', '--cluster-name=local', 'start') == 0
	  or die 'the server has not started';
	$local->_update_pid(1);
}
$local->safe_psql('postgres', 'CREATE EXTENSION sessmgr');
new_server($local, $remote, 'remote');
my $user = $local->safe_psql('postgres', 'SELECT current_user');
my ($lhost, $lport) = ($local->host, $local->port);
$local->safe_psql('postgres', qq{
	CREATE SERVER here FOREIGN DATA WRAPPER sessmgr OPTIONS (loopback 'true');
	CREATE SERVER fdw FOREIGN DATA WRAPPER sessmgr OPTIONS (host '127.0.0.1', port '$there', dbname 'postgres');
	CREATE USER MAPPING FOR CURRENT_USER SERVER here;
	CREATE USER MAPPING FOR CURRENT_USER SERVER fdw});
my $psql = psql($local);
my $version = $psql->value(q{SELECT current_setting('server_version_num')});
my $where = q{SELECT concat_ws(' ', inet_server_port() IS NULL OR inet_server_port() = current_setting('port')::int,
	current_database(), current_user, current_setting('application_name'), current_setting('work_mem'),
	current_setting('TimeZone') <> 'Asia/Kathmandu', current_setting('geqo'), current_setting('client_encoding'))};
my $utf = $local->safe_psql('postgres', q{SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = 'postgres'});
foreach my $target ('loopback:', 'loopback:postgres', 'here', 'remote', 'fdw',
	"postgresql://127.0.0.1:$there/postgres", "postgresql:///postgres?host=$host&port=$there",
	"host=$host port=$there dbname=postgres", "host=127.0.0.1 port=$there dbname=postgres")
{
	$psql->is("SELECT sessmgr.scalar('$target', \$\$$where\$\$)", "t postgres $user sessmgr 4MB t on $utf",
		"the environment does not decide: $target");
}
$psql->fails(q{SELECT sessmgr.scalar('postgresql:///postgres', 'SELECT 1')}, '08001', 'without a host');
unlike($psql->{last_err}, qr/nowhere|127\.0\.0\.9/, '... nothing of the environment');

$psql->fails(q{SELECT sessmgr.scalar('service=athome dbname=postgres', 'SELECT 1')}, '08001', 'a home that is not ours');
like($psql->{last_err}, qr/definition of service "athome" not found/, '... is not looked into');

# ---- several hosts

my $seconds = 1;
my $dead = "127.0.0.1:$port{silent}";
my $good = "127.0.0.1:$there";
my $readonly = '127.0.0.1:' . $standby->port;
my $port_of = q{SELECT current_setting('port')};

# Is this server reached by a URI of these hosts?
sub reaches
{
	my ($hosts, $parameters, $node, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$psql->is("SELECT sessmgr.scalar('postgresql://$hosts/postgres?$parameters', \$\$$port_of\$\$)",
		$node->port, $name);
}

reaches("$dead,$good", "connect_timeout=$seconds", $remote, 'the first host is silent');
ok($psql->{seconds} < 30, '... which takes its time only');
reaches("$dead,127.0.0.1:$port{deaf},$dead,$good", "connect_timeout=$seconds", $remote,
	'hosts that are silent, also once they were connected to');
reaches("127.0.0.1:1,$good", "connect_timeout=$seconds", $remote, 'the first host refuses');
reaches("127.0.0.1:$port{starting},$good", '', $remote, 'the first host is starting up');
reaches("127.0.0.1:$port{gone},127.0.0.1:$port{ended},$good", '', $remote,
	'those before are lost before they are of use');
reaches("$readonly,$good", 'target_session_attrs=read-write', $remote, 'read-write');
reaches("$good,$readonly", 'target_session_attrs=read-only', $standby, 'read-only');
reaches("$dead,$readonly,$good", "target_session_attrs=primary&connect_timeout=$seconds", $standby, 'primary');
reaches("$dead,$good", "target_session_attrs=prefer-standby&connect_timeout=$seconds", $remote,
	'prefer-standby without any: the others are tried again');
reaches("$dead,$good", "target_session_attrs=any&connect_timeout=$seconds", $remote, 'any');
$psql->fails("SELECT sessmgr.scalar('postgresql://$dead,$good/postgres?target_session_attrs=standby&connect_timeout=$seconds', 'SELECT 1')",
	'08001', 'standby without any');
like($psql->{last_err}, qr/connect_timeout.*\n.*standby/, '... and each attempt has its reason');
$psql->fails("SELECT sessmgr.scalar('postgresql://127.0.0.1:$port{refuses},$good/postgres', 'SELECT 1')",
	'08001', 'who is refused by one is not tried elsewhere');
like($psql->{last_err}, qr/no entry/, '... for this reason');
unlike($psql->{last_err}, qr/28P01|LOCATION:.*\n.*no entry/, '... in the same words as ever');
$psql->fails("SELECT sessmgr.scalar('postgresql://$dead,127.0.0.1:1/postgres?connect_timeout=$seconds', 'SELECT 1')",
	'08001', 'none of them');
like($psql->{last_err}, qr/"127\.0\.0\.1", port $port{silent}.*connect_timeout.*\n.*port 1 .*/, '... and each attempt has its reason');

# other ways to name several
foreach my $list (
	"host=127.0.0.1,127.0.0.1 port=$port{silent},$there",
	"hostaddr=127.0.0.1,127.0.0.1 port=$port{silent},$there",
	"host=a.invalid,b.invalid hostaddr=127.0.0.1,127.0.0.1 port=$port{silent},$there",
	"host=no.such.invalid,127.0.0.1 port=$there",
	"host=/nowhere,$host port=$there",
	"host=127.0.0.1,$host port=$port{silent},$there")
{
	$psql->is("SELECT sessmgr.scalar('$list dbname=postgres connect_timeout=$seconds', \$\$$port_of\$\$)",
		$there, $list);
}
$psql->fails("SELECT sessmgr.scalar('host=a,b port=1,2,3 dbname=postgres', 'SELECT 1')", '08001', 'lists that do not match');
$psql->fails("SELECT sessmgr.scalar('host=127.0.0.1 port=99999 dbname=postgres', 'SELECT 1')", '08001', 'no port');
$local->safe_psql('postgres', qq{
	CREATE SERVER several FOREIGN DATA WRAPPER sessmgr
		OPTIONS (host '127.0.0.1,127.0.0.1', port '$port{silent},$there', dbname 'postgres', connect_timeout '500ms');
	CREATE USER MAPPING FOR CURRENT_USER SERVER several;
	CREATE SERVER balanced FOREIGN DATA WRAPPER sessmgr
		OPTIONS (host '127.0.0.1,127.0.0.1', port '} . $standby->port . qq{,$there', dbname 'postgres');
	CREATE USER MAPPING FOR CURRENT_USER SERVER balanced});
$psql->is("SELECT sessmgr.scalar('several', \$\$$port_of\$\$)", $there, 'a server with lists');
$psql->is(qq{SELECT string_agg(concat(target, ' ', port), ', ' ORDER BY target)
	FROM sessmgr.query_all(ARRAY['several', 'balanced'], \$\$$port_of\$\$) AS t(target text, port text)},
	'balanced ' . $standby->port . ", several $there", 'several connections at a time');
$psql->value('SELECT sessmgr.reset()');
$psql->is(qq{SELECT string_agg(concat(target, ' ', port), ', ' ORDER BY target)
	FROM sessmgr.query_all(ARRAY['several', 'balanced'], \$\$$port_of\$\$) AS t(target text, port text)},
	'balanced ' . $standby->port . ", several $there", '... made at a time');

# names with several addresses
SKIP:
{
	skip('t/resolver is not installed: run dev/test', 1) unless $resolver;
	start_target('silent', "127.0.0.2:$there");
	my $name = '127.0.0.2-127.0.0.1.test';
	reaches("$name:$there", "connect_timeout=$seconds", $remote, 'the first address of a name is silent');
	reaches("127.0.0.3-127.0.0.1.test:$there", '', $remote, '... or refuses');
	reaches("127.0.0.3-127.0.0.2.test:$there,$name:$there", "connect_timeout=$seconds", $remote, '... or all of another name');
	reaches("$name:$there", "target_session_attrs=prefer-standby&connect_timeout=$seconds", $remote,
		'... for a second round, too');
	$psql->is(qq{SELECT string_agg(port, ',') FROM sessmgr.query_all(
		ARRAY['host=$name port=$there dbname=postgres connect_timeout=$seconds', 'host=127.0.0.3-$name port=$there dbname=postgres connect_timeout=$seconds'],
		\$\$$port_of\$\$) AS t(target text, port text)}, "$there,$there", '... for two at a time');
	$psql->fails("SELECT sessmgr.scalar('postgresql://$name:$there/postgres?target_session_attrs=standby&connect_timeout=$seconds', 'SELECT 1')",
		'08001', 'none of its addresses');
	like($psql->{last_err}, qr/"\Q$name\E" \($_\), port $there/, "... and there is a reason for $_") foreach '127.0.0.1', '127.0.0.2';
}

SKIP:
{
	skip('libpq before 16 cannot balance: give dev/test the pg_config of a newer one', 1) if $version < 160000;
	my %seen;
	foreach (1 .. 60)
	{
		$psql->value('SELECT sessmgr.reset()');
		$seen{ $psql->value(qq{SELECT sessmgr.scalar('postgresql://$readonly,$good/postgres?load_balance_hosts=random', \$\$$port_of\$\$)}) } = 1;
		last if keys %seen == 2;
	}
	is(join(' ', sort keys %seen), join(' ', sort $there, $standby->port), 'load_balance_hosts');
}

# the wait can be canceled, and a limit of the statement ends it
$psql->value(q{SET statement_timeout = '1s'});
$psql->fails("SELECT sessmgr.scalar('postgresql://$dead,$dead,$dead,$good/postgres?connect_timeout=60', 'SELECT 1')",
	'57014', 'a wait for the first of several is canceled');
$psql->value('RESET statement_timeout');

# ---- a target that ends the connection before it is of use

foreach my $case (
	[ 'closes', qr/server closed the connection unexpectedly/ ],
	[ 'gone', qr/DETAIL:  .*(?:closed|reset|broken)/i ],
	[ 'ended', qr/DETAIL:  .*shutting down now/ ])
{
	my ($name, $detail) = @$case;
	foreach my $round (1 .. 5)
	{
		$psql->fails("SELECT sessmgr.scalar('postgresql://127.0.0.1:$port{$name}/postgres', 'SELECT 1')",
			'08001', "$name: 08001");
		like($psql->{last_err}, $detail, "$name: with its reason");
		unlike($psql->{last_err}, qr/invalid socket|not open/, "$name: and no other");
	}
}

# ---- a target that has too much to say before the connection is of use

foreach my $name (qw(notices parameters notice))
{
	my $before = rss_kb($psql->{pid});
	$psql->start("SELECT sessmgr.scalar('postgresql://127.0.0.1:$port{$name}/postgres?connect_timeout=3', 'SELECT 1')");
	my $peak = 0;
	my $end = time() + 60;
	my $selected = IO::Select->new($psql->{err});
	until ($selected->can_read(0.02) || time() > $end)
	{
		my $now = rss_kb($psql->{pid});
		$peak = $now if $now > $peak;
	}
	$psql->fails(undef, '08001', "$name: 08001");
	note(sprintf('%s: %.1f s, %d MB', $name, $psql->{seconds}, ($peak - $before) / 1024));
	# libpq takes a message as a whole, however long it is
	grew_less($peak - $before, 32 * 1024, "$name: takes little memory") unless $name eq 'notice';
}

# ---- and afterwards

$psql->run(q{SELECT sessmgr.execute('remote', $$DO 'BEGIN FOR i IN 1 .. 40 LOOP
	RAISE NOTICE ''%'', repeat(''x'', 1000000); END LOOP; END'$$)});
is($psql->{last_state}, '', 'notices of 40 MB');
is(() = $psql->{last_err} =~ /x{60000}\.\.\.$/mg, 8, '... are kept up to 8 MB');
like($psql->{last_err}, qr/32 more notices from "remote" were not kept/, '... and the others counted');
$psql->fails(q{SELECT sessmgr.execute('remote', $$DO 'BEGIN
	RAISE EXCEPTION ''%'', repeat(''x'', 10000000) USING DETAIL = repeat(''y'', 10000000); END'$$)},
	'P0001', 'an error of 20 MB');
cmp_ok(length($psql->{last_err}), '<', 1_000_000, '... is shown in part');

$local->stop;
done_testing();
