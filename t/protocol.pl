# Targets that break the protocol, each at one command and in one way: that is
# found out, by a deadline at the latest, and what is reported is true.  Several
# of them are waited for at a time, each by a backend in a database of its own.

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

my $dir = PostgreSQL::Test::Utils::tempdir;

# ---- the server

sub message { return $_[0] . pack('N', 4 + length($_[1])) . $_[1]; }
sub parameter { return message('S', "$_[0]\0$_[1]\0"); }
sub complete { return message('C', "$_[0]\0"); }

# columns of type text, and rows of them
sub description
{
	my ($n, $binary) = @_;
	return message('T', pack('n', $n) . join('', map { "c$_\0" . pack('NnNnNn', 0, 0, 25, 0xffff, 0xffffffff, $binary // 0) } 1 .. $n));
}

sub row
{
	return message('D', pack('n', scalar(@_)) .
		  join('', map { defined $_ ? pack('N', length($_)) . $_ : pack('N', 0xffffffff) } @_));
}

# The database that a connection is for, by whose name it is told what to do
my $database = '';

# How is a query to be answered with rows that make no sense?
sub odd
{
	my ($sql) = @_;
	return '' unless -e "$dir/$database.odd";
	my ($pattern, $how) = split(/\t/, slurp_file("$dir/$database.odd"));
	return $sql =~ /$pattern/ ? $how : '';
}

my %never = (
	parameters => sub { join('', map { parameter("p$_[0].$_", 'x') } 1 .. 200) },
	notices => sub { message('N', "SNOTICE\0VNOTICE\0C00000\0Mnothing\0\0") x 200 },
	completions => sub { complete('SELECT 1') x 200 },
	copies => sub { message('G', pack('Cn', 0, 0)) x 200 });

# What is said in a wrong way; undef: the server says nothing more
my %wrong = (
	'copy in' => message('G', pack('Cn', 0, 0)),
	'copy out' => message('H', pack('Cn', 0, 0)),
	'copy both' => message('W', pack('Cn', 0, 0)),
	'copy in, and gone' => message('G', pack('Cn', 0, 0)),
	'copy in, done' => message('G', pack('Cn', 0, 0)) . complete('COPY 0'),
	'no answer' => '',
	'a row alone' => row('x'),
	'a message there is not' => message('?', 'what'),
	'another answer' => complete('LISTEN'));

sub tag_of
{
	my ($sql) = @_;
	return 'INSERT 0 1' if $sql =~ /^INSERT/;
	return 'SELECT 1' if $sql =~ /^(?:SELECT|VALUES)/;
	return $1 if $sql =~ /^((?:COMMIT|ROLLBACK) PREPARED|PREPARE TRANSACTION|DISCARD ALL|SET CONSTRAINTS)/;
	return $sql =~ /^(\w+)/ ? $1 : '';
}

# One row for a query; of a sort that two-phase transactions want to see
sub rows_of
{
	my ($sql) = @_;
	my $odd = odd($sql);
	return [ map { undef } @{ sensible_rows_of($sql) } ] if $odd eq 'nulls';
	return [] if $odd eq 'no columns';
	return sensible_rows_of($sql);
}

sub sensible_rows_of
{
	my ($sql) = @_;
	return [ odd($sql) eq 'far' ? '99' : '1', 't', undef ] if $sql =~ /^SELECT o.i::int4, n.oid/;
	return [ odd($sql) eq 'far' ? '99' : '1' ] if $sql =~ /^SELECT o.i::int4 FROM/;
	return [ 'gid', 't' ] if $sql =~ /pg_prepared_xacts/;
	return [ '10', '7000000000000000001', '5', 'false' ] if $sql =~ /pg_control_system/;
	return [ '16384', 'c' ] if $sql =~ /pg_attribute/;
	return [$$] if $sql =~ /^SELECT pg_catalog.pg_backend_pid/;
	return ['x'] if $sql =~ /^(?:SELECT|VALUES|FETCH)/ || $sql =~ /RETURNING/;
	return undef;
}

# What serves one connection
sub serve
{
	my ($client) = @_;
	my ($buffer, $first, $status, $ready, $failed) = ('', 1, 'I', 0, 0);
	my (%prepared, $portal, @violated);
	my $hello = message('R', pack('N', 0)) . message('K', pack('NN', $$, 1)) . join('',
		parameter('server_version', '15.0'), parameter('server_encoding', 'UTF8'),
		parameter('client_encoding', 'UTF8'), parameter('integer_datetimes', 'on'),
		parameter('standard_conforming_strings', 'on'), parameter('DateStyle', 'ISO, MDY'),
		parameter('IntervalStyle', 'postgres'), parameter('TimeZone', 'UTC'));
	my $say = sub { put_all($client, join('', @_)) or POSIX::_exit(0); };
	my $end = sub { $say->(message('Z', $status)); };

	# Is the protocol to be broken here?  Then it is, and nobody comes back,
	# unless the server is to go on as if nothing was.
	my $break = sub {
		my ($sql) = @_;
		return 0 unless -e "$dir/$database.case";
		my ($pattern, $how) = split(/\t/, slurp_file("$dir/$database.case"));
		return 0 unless $sql =~ /$pattern/;
		unlink("$dir/$database.case");
		append_to_file("$dir/$database.done", "$how\n");
		if ($never{$how})
		{
			for (my $i = 0;; $i++) { $say->($never{$how}->($i)); }
		}
		if ($how =~ /^fatal (\S+) ?(\S*)/)
		{
			$say->(message('E', "SFATAL\0VFATAL\0C$1\0Mthat was it\0" .
				  ($2 ? "Fpostgres.c\0L1\0R$2\0" : '') . "\0"));
			POSIX::_exit(0);
		}
		if ($how eq 'error 57P01')
		{
			$say->(message('E', "SERROR\0VERROR\0C57P01\0Mit says so\0Fx.c\0L1\0Rx\0\0"));
			return 2;
		}
		if ($how eq 'answered twice')
		{
			$say->(complete(tag_of($sql)), complete(tag_of($sql)));
			return 2;
		}
		if ($how eq 'and one more')
		{
			push @violated, complete('INSERT 0 7') . message('Z', $status);
			return 0;
		}
		$say->($wrong{$how});
		POSIX::_exit(0) if $how =~ /gone$/;
		return 2 if $how eq 'no answer' || $how eq 'another answer';
		# a target that asks for something may be told so; it does not care
		1 while sysread($client, my $ignored, 65536);
		POSIX::_exit(0);
	};
	# Run one command, for which its rows are described
	my $run = sub {
		my ($sql, $described) = @_;
		my $rows = rows_of($sql);
		return if $failed;
		my $broken = $break->($sql);
		$status = 'T' if $sql =~ /^BEGIN/;
		$status = 'I' if $sql =~ /^(?:COMMIT|ROLLBACK(?! TO)|PREPARE TRANSACTION)/;
		return if $broken == 2;
		if ($sql =~ /^COPY.* FROM STDIN/s) { $say->(message('G', pack('Cn', 0, 0))); return; }
		if ($sql =~ /^COPY.* TO STDOUT/s)
		{
			my $binary = $sql =~ /FORMAT binary/ ? 1 : 0;
			my @data = $binary ? ("PGCOPY\n\377\r\n\0" . pack('NN', 0, 0), pack('nNa', 1, 1, 'x'), pack('n', 0xffff)) : ("x\n");
			$say->(message('H', pack('Cnn', $binary, 1, $binary)), map({ message('d', $_) } @data), message('c', ''), complete('COPY 1'));
			return;
		}
		if ($sql eq '') { $say->(message('I', '')); return; }
		$say->(description(scalar(@$rows))) if $rows && !$described;
		$say->(row(@$rows)) if $rows && odd($sql) ne 'no rows';
		$say->(complete(tag_of($sql)));
	};

	while (sysread($client, $buffer, 65536, length($buffer)))
	{
		foreach my $message (whole_messages(\$buffer, \$first))
		{
			my ($type, $body) = (substr($message, 0, 1), substr($message, 5));
			if ($type eq "\0" && substr($message, 4) =~ /^\x04\xd2\x16\x2f|^\x04\xd2\x16\x30/)
			{
				$say->('N');
				$first = 1;
			}
			elsif ($type eq "\0" && substr($message, 4) =~ /^\x04\xd2\x16\x2e/)
			{
				# a request to cancel, which it does not care for
				POSIX::_exit(0);
			}
			elsif ($type eq "\0")
			{
				($database) = $message =~ /\0database\0([^\0]+)\0/;
				$say->($hello);
				$end->();
			}
			elsif ($type eq 'Q')
			{
				my ($text) = $body =~ /^([^\0]*)/;
				my @commands = split(/;\s*/, $text);
				@commands = ('') unless @commands;
				$run->($_, 0) foreach @commands;
				$end->() unless $text =~ /^COPY.* FROM STDIN/s;
			}
			elsif ($type eq 'P')
			{
				my ($name, $sql) = $body =~ /^([^\0]*)\0([^\0]*)/;
				$prepared{$name} = $sql;
				$say->(message('1', '')) unless $break->("Parse $sql");
			}
			elsif ($type eq 'D')
			{
				my ($what, $name) = $body =~ /^(.)([^\0]*)/;
				my $sql = $what eq 'S' ? $prepared{$name} : $portal;
				my $rows = rows_of($sql);
				$say->(message('t', pack('n', 0))) if $what eq 'S';
				$say->($rows ? description(scalar(@$rows), odd($sql) eq 'binary') : message('n', ''));
			}
			elsif ($type eq 'B')
			{
				my ($name) = $body =~ /^[^\0]*\0([^\0]*)/;
				$portal = $prepared{$name};
				$say->(message('2', ''));
			}
			elsif ($type eq 'E') { $run->($portal, 1); }
			elsif ($type eq 'C') { $say->(message('3', '')); }
			elsif ($type eq 'c') { $run->('END OF COPY', 0); $end->(); }
			elsif ($type eq 'S') { $end->(); }
			$say->(shift(@violated)) if @violated && $type =~ /[QS]/;
			POSIX::_exit(0) if $type eq 'X';
		}
	}
	POSIX::_exit(0);
}

my $listener = IO::Socket::INET->new(Listen => 50, LocalAddr => '127.0.0.1') or die "could not listen: $!";
my $port = $listener->sockport;
my $server = fork() // die "could not fork: $!";
if ($server == 0)
{
	$SIG{CHLD} = 'IGNORE';
	$SIG{PIPE} = 'IGNORE';
	while (my $client = $listener->accept)
	{
		next if fork();
		serve($client);
	}
	POSIX::_exit(0);
}
close($listener);
END { my $status = $?; kill('KILL', $server) if $server; $? = $status; }

# ---- what is done with it

my $local = new_node('local');
$local->safe_psql('postgres', qq{
	CREATE EXTENSION sessmgr;
	CREATE TABLE pulled (c text);
	CREATE FUNCTION session() RETURNS sessmgr.session LANGUAGE sql AS
		\$\$ SELECT sessmgr.open((sessmgr.create_session('b')).factory) \$\$;
	CREATE FUNCTION insert_and(what text, VARIADIC more text[] = '{}') RETURNS void LANGUAGE plpgsql AS
		\$\$ DECLARE s sessmgr.session := session();
		BEGIN
			PERFORM sessmgr.execute(s, 'INSERT');
			FOREACH what IN ARRAY what || more LOOP
				EXECUTE format('SELECT sessmgr.%s', replace(what, '()', '(\$1)')) USING s;
			END LOOP;
		END \$\$;
	CREATE FUNCTION send_and_receive(mode text) RETURNS text LANGUAGE plpgsql AS
		\$\$ DECLARE s sessmgr.session := sessmgr.open((sessmgr.create_session('b',
				options => jsonb_build_object('transaction', mode))).factory);
			t text;
		BEGIN
			PERFORM sessmgr.send(s, 'SELECT sent');
			SELECT c INTO t FROM sessmgr.receive(s) AS r(c text);
			RETURN t;
		END \$\$;
	CREATE FUNCTION read_cursor() RETURNS text LANGUAGE plpgsql AS
		\$\$ DECLARE s sessmgr.session := session(); r record;
		BEGIN
			FOR r IN SELECT c FROM sessmgr.stream(s, 'SELECT') AS r(c text) LOOP
				PERFORM sessmgr.execute(s, 'INSERT');
			END LOOP;
			RETURN r.c;
		END \$\$;
	CREATE FUNCTION nested() RETURNS bigint LANGUAGE plpgsql AS
		\$\$ BEGIN RETURN sessmgr.execute('joined', 'INSERT');
		EXCEPTION WHEN division_by_zero THEN RETURN 0; END \$\$});

# a backend in a database of its own
sub new_lane
{
	my ($name) = @_;
	my $options = qq{host '127.0.0.1', port '$port', dbname '$name', sslmode 'disable', gssencmode 'disable',
		connect_timeout '1s', statement_timeout '500ms', commit_timeout '500ms', cleanup_timeout '300ms'};
	my %servers = (b => '', pinged => q{, pool_pre_ping 'on'}, joined => q{, transaction 'joined'},
		two_phase => q{, transaction 'two_phase'}, discarded => q{, pool_reset_on_return 'discard'},
		reading => q{, read_only 'on'}, pooled => q{, pooler 'transaction'});

	$local->safe_psql('postgres', "CREATE DATABASE $name TEMPLATE postgres");
	$local->safe_psql($name, join('', map { qq{
		CREATE SERVER $_ FOREIGN DATA WRAPPER sessmgr OPTIONS ($options$servers{$_});
		CREATE USER MAPPING FOR CURRENT_USER SERVER $_;} } sort keys %servers));
	my $lane = psql($local, db => $name);
	$lane->{name} = $name;
	$lane->value(q{SET statement_timeout = '90s'});
	return $lane;
}

my @lanes = map { new_lane("lane$_") } 1 .. 4;
my $psql = $lanes[0];
my @copies = ('copy in', 'copy out', 'copy both', 'copy in, done', 'copies');
my @others = ('no answer', 'a row alone', 'a message there is not', 'parameters', 'notices', 'completions', 'answered twice');
my @few = ('copy in', 'copy both', 'no answer', 'completions', 'answered twice');

# What is called, the command at which the protocol is broken, the state that is
# raised then ('': nothing is; after = what is returned), and the ways, if not all.
my @cases = (
	[ 'execute', q{SELECT sessmgr.execute('b', 'INSERT')}, '^INSERT', '08007' ],
	[ 'COPY behind a pooler', q{SELECT sessmgr.execute('pooled', 'COPY t FROM STDIN')}, '^COPY t', '0A000', 'copy in, and gone' ],
	[ 'query', q{SELECT * FROM sessmgr.query('b', 'SELECT') AS t(c text)}, '^SELECT$', '08007', @few ],
	[ 'query, prepared', q{SELECT * FROM sessmgr.query('b', 'SELECT') AS t(c text)}, '^Parse SELECT$', '08P01|57014|=x', @few ],
	[ 'scalar', q{SELECT sessmgr.scalar('b', 'SELECT')}, '^SELECT$', '08007', @few ],
	[ 'stream', q{SELECT * FROM sessmgr.stream('b', 'SELECT') AS t(c text)}, '^SELECT$', '08P01|57014|0A000|08006' ],
	[ 'execute_all', q{SELECT sqlstate FROM sessmgr.execute_all('{b}', 'INSERT')}, '^INSERT', '=08007' ],
	[ 'query_all', q{SELECT * FROM sessmgr.query_all('{b}', 'SELECT') AS t(target text, c text)}, '^SELECT$', '08P01|57014|0A000|08006', @few ],
	[ 'query_all, COMMIT', q{SELECT * FROM sessmgr.query_all('{b}', 'SELECT') AS t(target text, c text)}, '^COMMIT', '08007', @few ],
	[ 'receive', q{SELECT send_and_receive('autocommit')}, '^SELECT sent', '08007' ],
	[ 'receive, in a transaction', q{SELECT send_and_receive('manual')}, '^SELECT sent', '08P01|57014|0A000|08006', @few ],
	[ 'BEGIN of a session', q{SELECT insert_and('commit()')}, '^BEGIN', '08P01|57014|08006', @few ],
	[ 'execute in a session', q{SELECT insert_and('commit()')}, '^INSERT', '08P01|57014|0A000|08006', @few ],
	[ 'commit', q{SELECT insert_and('commit()')}, '^COMMIT', '08007' ],
	[ 'rollback', q{SELECT insert_and('rollback()')}, '^ROLLBACK', '', @few ],
	[ 'begin_nested', q{SELECT insert_and('begin_nested()')}, '^SAVEPOINT', '08P01|57014', @few ],
	[ 'rollback_to', q{SELECT insert_and('begin_nested()', 'rollback_to($1, 1)')}, '^ROLLBACK TO', '08P01|57014', @few ],
	[ 'release', q{SELECT insert_and('begin_nested()', 'release($1, 1)')}, '^RELEASE', '08P01|57014', @few ],
	[ 'DECLARE', q{SELECT read_cursor()}, '^DECLARE', '08P01|57014|0A000|08006', @few ],
	[ 'FETCH', q{SELECT read_cursor()}, '^FETCH', '08P01|57014|0A000|08006' ],
	[ 'CLOSE', q{SELECT read_cursor()}, '^CLOSE', '08P01|57014|08006', @few ],
	[ 'joined', q{SELECT sessmgr.execute('joined', 'INSERT')}, '^COMMIT', '08007' ],
	[ 'SAVEPOINT of a local one', q{SELECT nested()}, '^SAVEPOINT', '08P01|57014|08006', @few ],
	[ 'what has defaults', q{SELECT sessmgr.execute('reading', 'INSERT')}, '^SET default', '08P01|57014|08006', @few ],
	[ 'DISCARD ALL at the return', q{SELECT sessmgr.execute('discarded', 'INSERT')}, '^DISCARD ALL', '', @few ],
	[ 'DISCARD ALL before it', q{SELECT sessmgr.execute('b', 'INSERT')}, '^DISCARD ALL', '08007', @few ],
	[ 'PREPARE TRANSACTION', q{SELECT sessmgr.execute('two_phase', 'INSERT')}, '^PREPARE', '08006', @few ],
	[ 'COMMIT PREPARED', q{SELECT sessmgr.execute('two_phase', 'INSERT')}, '^COMMIT PREPARED', 'WARNING 08007', @few[0 .. 3], 'copies', 'parameters', 'another answer' ],
	[ 'execute_many', q{SELECT sessmgr.execute_many('b', 'INSERT $1', 'SELECT generate_series(1, 3)')}, '^INSERT', '08P01|57014|0A000|08006|=3|=4|=7', @few ],
	[ 'execute_many, COMMIT', q{SELECT sessmgr.execute_many('b', 'INSERT $1', 'SELECT generate_series(1, 3)')}, '^COMMIT', '08007', @few ],
	[ 'push', q{SELECT sessmgr.push('b', 'SELECT 1', 't', '{c}')}, '^COPY', '08P01|57014|08006|=', ],
	[ 'push, the end', q{SELECT sessmgr.push('b', 'SELECT 1', 't', '{c}')}, '^END OF COPY', '08P01|57014|=' ],
	[ 'push, COMMIT', q{SELECT sessmgr.push('b', 'SELECT 1', 't', '{c}')}, '^COMMIT', '08007', @few ],
	[ 'pull', q{SELECT sessmgr.pull('b', 'SELECT', 'pulled')}, '^COPY', '08P01|57014|08006|=' ],
	[ 'pull, prepared', q{SELECT sessmgr.pull('b', 'SELECT', 'pulled')}, '^Parse SELECT$', '08P01|57014', @few ],
	[ 'pull, COMMIT', q{SELECT sessmgr.pull('b', 'SELECT', 'pulled')}, '^COMMIT', '08007', @few ],
	[ 'a ping', q{SELECT sessmgr.execute('pinged', 'INSERT')}, '^$', '' ],
	[ 'set-up', q{SELECT sessmgr.execute('b', 'INSERT')}, '^SELECT pg_catalog.pg_backend_pid', '08001|=1' ]);

# Begin a case
sub start_case
{
	my ($lane, $name, $sql, $pattern, $expected, $how) = @_;
	unlink("$dir/$lane->{name}.case", "$dir/$lane->{name}.done");
	$lane->value('SELECT sessmgr.reset()');
	$lane->value(q{SELECT sessmgr.execute('pinged', 'INSERT')}) if $name eq 'a ping';
	$lane->value(q{SELECT sessmgr.execute('b', 'INSERT'); DISCARD ALL; SET statement_timeout = '90s'}) if $name eq 'DISCARD ALL before it';
	append_to_file("$dir/$lane->{name}.case", "$pattern\t$how");
	$lane->start($sql);
}

sub end_case
{
	my ($lane, $name, $sql, $pattern, $expected, $how) = @_;
	my ($out, $err, $state) = $lane->finish;
	ok(-e "$dir/$lane->{name}.done", "$name, $how: it was broken") or diag("$out\n$err");
	my $got = $state ne '' ? $state : $err =~ /WARNING:  (08007)/ ? "WARNING $1" : $expected =~ /=/ ? "=$out" : '';
	like($got, qr/^(?:$expected)$/, "$name, $how: what is reported") or diag("$out\n$err");
	cmp_ok($lane->{seconds}, '<', 30, "$name, $how: bounded");
	note(sprintf('%s, %s: %s after %.1f s: %s', $name, $how, $got, $lane->{seconds}, $err));
	if ($expected =~ /^08/ && $how =~ /^(fatal|error) (\w+)/)
	{
		like($err . $out, $1 eq 'fatal' ? qr/FATAL $2: that was it/ : qr/ERROR $2: it says so/,
			"$name, $how: with its code and message");
	}
	$lane->run('SELECT sessmgr.reset()');
	is($lane->value(q{SELECT sessmgr.execute('b', 'INSERT')}), 1, "$name, $how: a new connection works");
}

# What is said without an end leaves no time for others: each of these has its turn
sub try_all
{
	my (@all) = @_;
	my @quiet = grep { !$never{ $_->[4] } } @all;
	my @turns = map { [$_] } grep { $never{ $_->[4] } } @all;

	while (my @some = splice(@quiet, 0, scalar(@lanes))) { push @turns, \@some; }
	foreach my $turn (@turns)
	{
		start_case($lanes[$_], @{ $turn->[$_] }) foreach 0 .. $#$turn;
		end_case($lanes[$_], @{ $turn->[$_] }) foreach 0 .. $#$turn;
	}
}

try_all(map {
	my ($name, $sql, $pattern, $expected, @ways) = @$_;
	map { [ $name, $sql, $pattern, $expected, $_ ] } (@ways ? @ways : (@copies, @others));
} @cases);

# ---- the end of a session is told from that of a statement, and a proxy's word
# from the server's

my $pg = 'ProcessInterrupts';
try_all(map {
	my ($name, $how, $expected) = @$_;
	my ($found) = grep { $_->[0] eq $name } @cases;
	[ @$found[0 .. 2], $expected, $how ];
} (
	# what the server itself says while a statement runs
	[ 'execute', "fatal 57P01 $pg", '08006' ],
	[ 'execute', "fatal 57P05 $pg", '08006' ],
	[ 'execute', "fatal 25P03 $pg", '08006' ],
	[ 'execute', "fatal 25P04 $pg", '08006' ],
	[ 'execute', "fatal 40001 $pg", '08006' ],
	[ 'query', "fatal 57P01 $pg", '08006' ],
	[ 'receive', "fatal 57P01 $pg", '08006' ],
	[ 'execute_all', "fatal 57P01 $pg", '=08006' ],
	# what may be anybody's, or be said at any time
	[ 'execute', 'fatal 57P01', '08007' ],
	[ 'execute', 'fatal 08P01', '08007' ],
	[ 'execute', 'fatal 57P02 quickdie', '08007' ],
	[ 'execute', 'fatal XX000 somewhere', '08007' ],
	[ 'scalar', 'fatal 57P01', '08007' ],
	[ 'receive', 'fatal 57P01', '08007' ],
	[ 'execute_all', 'fatal 08P01', '=08007' ],
	# of COMMIT only what is said to who is idle promises anything
	[ 'commit', "fatal 57P01 $pg", '08007' ],
	[ 'commit', 'fatal 25P03', '08007' ],
	[ 'commit', "fatal 25P03 $pg", '08006' ],
	[ 'joined', "fatal 57P01 $pg", '08007' ],
	[ 'joined', 'fatal 57P01', '08007' ],
	[ 'query_all, COMMIT', 'fatal 57P01', '08007' ],
	[ 'PREPARE TRANSACTION', "fatal 57P01 $pg", '08006' ],
	[ 'COMMIT PREPARED', 'fatal 57P01', 'WARNING 08007' ],
	# nothing lasts of a transaction that was not to be committed
	[ 'execute in a session', 'fatal 57P01', '08006' ],
	[ 'begin_nested', 'fatal 08P01', '08006' ],
	[ 'push', 'fatal 57P01', '08006' ],
	[ 'push, the end', 'fatal 57P01', '08006' ],
	[ 'pull', 'fatal 57P01', '08006' ],
	[ 'execute_many', 'fatal 57P01', '08006' ],
	[ 'stream', 'fatal 57P01', '08006' ],
	[ 'set-up', 'fatal 57P01', '08001' ],
	[ 'a ping', 'fatal 57P01', '' ],
	# no session has ended here
	[ 'execute', 'error 57P01', '08006' ],
	[ 'execute in a session', 'error 57P01', '08006' ],
	[ 'commit', 'error 57P01', '08006' ],
	# COMMIT is done when it says so
	[ 'commit', 'another answer', '08007' ],
	[ 'joined', 'another answer', '08007' ],
	[ 'PREPARE TRANSACTION', 'another answer', '08006' ]));

# what comes too much must not be taken for the next answer
$psql->value('BEGIN');
$psql->open('s', 'b', '{}');
unlink("$dir/$psql->{name}.case", "$dir/$psql->{name}.done");
append_to_file("$dir/$psql->{name}.case", "^INSERT\tand one more");
$psql->run(q{SELECT sessmgr.execute(:'s'::sessmgr.session, 'INSERT')});
ok(-e "$dir/$psql->{name}.done", 'an answer too much');
$psql->fails(q{SELECT sessmgr.commit(:'s')}, '25P02', 'is not taken for that to COMMIT');
like($psql->{last_err}, qr/answered what it was not asked/, 'which is said');
$psql->value('ROLLBACK');

# ---- rows that make no sense

$psql->value(q{SELECT sessmgr.add_model('pulled')});
$psql->value('SET client_min_messages = debug1');
my $prepare = q{SELECT sessmgr.prepare_models(sessmgr.get_engine('b'))};
foreach my $case (
	[ 'two_phase', q{SELECT sessmgr.execute('two_phase', 'INSERT')}, 'pg_control_system', '08P01', 'no rows', 'nulls' ],
	[ 'two_phase', q{SELECT sessmgr.execute('two_phase', 'INSERT')}, 'pg_control_system', '42804', 'no columns' ],
	[ 'recover', q{SELECT sessmgr.recover('two_phase')}, 'pg_prepared_xacts', '08P01', 'nulls' ],
	[ 'prepare_models', $prepare, 'n.oid IS NOT NULL', '08P01', 'nulls', 'far' ],
	[ 'prepare_models, types', $prepare, 'to_regtype', '08P01', 'far' ],
	[ 'query', q{SELECT * FROM sessmgr.query('b', 'SELECT') AS t(c numeric)}, '^SELECT$', '08P01', 'binary' ],
	[ 'query_json', q{SELECT * FROM sessmgr.query_json('b', 'SELECT')}, '^SELECT$', '', 'binary', 'no columns', 'nulls' ],
	[ 'set-up', q{SELECT sessmgr.execute('b', 'INSERT')}, '^SELECT pg_catalog.pg_backend_pid', '08001', 'no columns', 'no rows', 'nulls' ])
{
	my ($name, $sql, $pattern, $expected, @ways) = @$case;
	foreach my $how (@ways)
	{
		$psql->value('SELECT sessmgr.reset()');
		append_to_file("$dir/$psql->{name}.odd", "$pattern\t$how");
		$psql->run($sql);
		is($psql->{last_state}, $expected, "$name, $how: what is reported") or diag($psql->{last_err});
		unlike($psql->{last_err}, qr/: retry 1 after/, "$name, $how: and not tried again");
		unlink("$dir/$psql->{name}.odd");
	}
}
unlike(log_since($local), qr/terminated by signal/, 'no backend has crashed');

$_->quit foreach @lanes;
$local->stop;
done_testing();
