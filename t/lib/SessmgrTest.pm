# What the tests with a second server share: two servers, psql sessions that can
# be left running, and waits that end as soon as what they wait for is there.

package SessmgrTest;

use strict;
use warnings;

use Cwd qw(abs_path);
use Exporter 'import';
use Fcntl ':flock';
use File::Basename qw(dirname);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(new_node new_pair new_server psql wait_for stop_process
  continue_process remote_backends remote_running gone_soon rss_kb grew_less sanitized
  descriptors log_since test_library use_test_library stops children_at_last kill_server
  kill_postmaster start_again answers crashed_and_back
  start_pgbouncer stop_pgbouncer whole_messages put_all left_out);

# seconds that anything may take on a slow and noisy machine
our $patience = 120;

my %stopped;

# Whatever a test leaves stopped could not be shut down.  Runs before the END
# block of PostgreSQL::Test::Cluster, which ends the servers.
END
{
	my $status = $?;
	kill('CONT', $_) foreach keys %stopped;
	$? = $status;
}

# initdb takes longer than most of what is tested.  So dev/test has run it for the
# first servers of each test, which are copies then: each of another one, as
# servers must not have the same identity.
my @templates = glob(($ENV{SESSMGR_TEMPLATES} // '') . '/*');
{
	no warnings 'redefine';
	my $system_or_bail = \&PostgreSQL::Test::Utils::system_or_bail;

	*PostgreSQL::Test::Utils::system_or_bail = sub {
		my $command = join(' ', @_);

		if (@templates && $command =~ /^initdb (?:-D|--no-sync --pgdata) (\S+) (?:-A trust -N|--auth trust)$/)
		{
			return $system_or_bail->('cp', '-RPp', shift @templates, $1);
		}
		return $system_or_bail->(@_);
	};
}

# As skip(), and says so also where only failures are shown
sub left_out
{
	my ($why, $tests) = @_;
	diag("left out: $why");
	skip($why, $tests);
}

# A server that has been started.
sub new_node
{
	my ($name, $conf) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init;
	$node->append_conf('postgresql.conf', "fsync = off\nlog_statement = none\n" . ($conf // ''));
	$node->start;
	return $node;
}

# A foreign server on $local for $remote, with a mapping for the superuser.
sub new_server
{
	my ($local, $remote, $name, $options) = @_;
	my ($host, $port) = ($remote->host, $remote->port);
	$options = $options ? ", $options" : '';
	$local->safe_psql('postgres', qq{
		CREATE SERVER $name FOREIGN DATA WRAPPER sessmgr
			OPTIONS (host '$host', port '$port', dbname 'postgres'$options);
		CREATE USER MAPPING FOR CURRENT_USER SERVER $name});
}

# Two servers; on the first the extension, and the second as "remote".
sub new_pair
{
	my (%conf) = @_;
	my $remote = new_node('remote', $conf{remote});
	my $local = new_node('local', $conf{local});
	$local->safe_psql('postgres', 'CREATE EXTENSION sessmgr');
	new_server($local, $remote, 'remote', $conf{options});
	return ($local, $remote);
}

# For proxies: takes all whole messages of the protocol from a buffer; the first
# one of a client has no type.
sub whole_messages
{
	my ($buffer, $first) = @_;
	my @found;
	while (1)
	{
		my $type = $$first ? 0 : 1;
		last if length($$buffer) < $type + 4;
		my $length = $type + unpack('N', substr($$buffer, $type, 4));
		last if length($$buffer) < $length;
		push @found, substr($$buffer, 0, $length, '');
		$$first = 0;
	}
	return @found;
}

# Writes all of it; false if that fails.
sub put_all
{
	my ($to, $data) = @_;
	while (length($data))
	{
		my $n = syswrite($to, $data) or return 0;
		substr($data, 0, $n, '');
	}
	return 1;
}

sub psql { return SessmgrTest::Psql->new(@_); }

# Calls $test until it is true, or for too long; returns its last value.
sub wait_for
{
	my ($test, $limit) = @_;
	my $end = time() + ($limit // $patience);
	my $result;
	until ($result = $test->())
	{
		last if time() > $end;
		sleep(0.05);
	}
	return $result;
}

sub stop_process
{
	my (@pids) = @_;
	foreach (@pids)
	{
		$stopped{$_} = 1;
		kill('STOP', $_) or die "could not stop $_: $!";
	}
}

sub continue_process
{
	foreach (@_)
	{
		kill('CONT', $_);
		delete $stopped{$_};
	}
}

# Process ids on the remote server of sessmgr's connections.
sub remote_backends
{
	my ($remote, $where) = @_;
	my $pids = $remote->safe_psql('postgres',
		    q{SELECT pid FROM pg_stat_activity WHERE application_name = 'sessmgr'}
		  . ($where ? " AND $where" : ''));
	return split(/\n/, $pids);
}

# Is a statement that contains this text running there?
sub remote_running
{
	my ($remote, $text) = @_;
	return scalar(remote_backends($remote, "state = 'active' AND query LIKE '%$text%'"));
}

# Ends well when nothing with this text runs on the remote server any more;
# with no text: when there is no connection of sessmgr there any more.
sub gone_soon
{
	my ($remote, $text, $name) = @_;
	my $start = time();
	my $gone = wait_for(
		sub { $text ? !remote_running($remote, $text) : !remote_backends($remote) });
	note(sprintf('%s: after %.1f s', $name, time() - $start));
	ok($gone, $name);
}

sub rss_kb
{
	my ($pid) = @_;
	my ($kb) = slurp_file("/proc/$pid/status") =~ /^VmRSS:\s+(\d+)/m;
	return $kb;
}

# Is the server built with AddressSanitizer, whose allocator is its own?
sub sanitized { return `pg_config --cflags` =~ /-fsanitize=/; }

# Test that a process has grown by less than so many kB.
sub grew_less
{
	my ($kb, $limit, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
  SKIP:
	{
		skip('a sanitizer keeps what was freed', 1) if sanitized();
		cmp_ok($kb, '<', $limit, $name);
	}
	return;
}

# Sockets, epoll sets and the like of a process, but not its files
sub descriptors
{
	my ($pid) = @_;
	return scalar(grep { (readlink($_) // '') =~ /^(?:socket|anon_inode):/ } glob("/proc/$pid/fd/*"));
}

# What a server's log says from an offset on
sub log_since
{
	my ($node, $offset) = @_;
	return substr(slurp_file($node->logfile), $offset // 0);
}

# The library built with the places where a test can stop a process, which the
# installed one does not have (see src/core/injection_point.c).  Returns its path and '',
# or undef and what is missing to build it; dies if nothing is missing and it
# cannot be built, as that is no reason to leave a test out.  With
# SESSMGR_TEST_LIBRARY several tests share what the first of them has built there.
sub test_library
{
	my $source = abs_path(dirname(__FILE__) . '/../..');
	my $dir = $ENV{SESSMGR_TEST_LIBRARY} // PostgreSQL::Test::Utils::tempdir;
	my $log = "$dir/build.log";
	my $cc = `pg_config --cc 2>/dev/null`;

	return (undef, 'no pg_config in the PATH') if $? != 0;
	chomp $cc;
	foreach my $tool ('make', $cc)
	{
		return (undef, "no $tool in the PATH") if system("$tool --version >/dev/null 2>&1");
	}
	mkdir($dir);
	# one of those that run side by side builds it
	open(my $lock, '>', "$dir/lock") or die "could not open $dir/lock: $!";
	flock($lock, LOCK_EX);
	return ("$dir/sessmgr", '') if -e "$dir/done";
	system("cp -r '$source/Makefile' '$source'/sessmgr* '$source/src' '$dir' && cd '$dir' && "
		  . "rm -f *.o src/*/*.o && MAKEFLAGS= make -j2 with_llvm=no "
		  . "CFLAGS_EXTRA='-DSM_INJECTION_POINTS -O0 -U_FORTIFY_SOURCE' all >'$log' 2>&1 && touch '$dir/done'") == 0
	  or die 'the library for tests cannot be built: ' . (-e $log ? slurp_file($log) : $source);
	return ("$dir/sessmgr", '');
}

# Have the functions of the extension run from that library, in new sessions
sub use_test_library
{
	my ($node, $library) = @_;
	$node->safe_psql('postgres',
		"UPDATE pg_catalog.pg_proc SET probin = '$library' WHERE probin = '\$libdir/sessmgr'");
}

# Wait until a process has stopped itself; false: it has not, or has ended
sub stops
{
	my ($pid) = @_;
	my $state = '';
	wait_for(
		sub {
			($state) = -e "/proc/$pid/stat" ? slurp_file("/proc/$pid/stat") =~ /\) (\S)/ : 'X';
			$state =~ /[TXZ]/;
		});
	$stopped{$pid} = 1 if $state eq 'T';
	return $state eq 'T';
}

# The processes of a postmaster, which is stopped so that it starts no more: one
# that is missed would be in the way of the next postmaster.
sub children_at_last
{
	my ($postmaster) = @_;
	stop_process($postmaster);
	stops($postmaster);
	return split(' ', slurp_file("/proc/$postmaster/task/$postmaster/children"));
}

# Kill a server at once: the postmaster first, so that it sees nothing
sub kill_server
{
	my ($node) = @_;
	my $postmaster = $node->{_pid};
	my @children = children_at_last($postmaster);

	$node->kill9;
	my $killed = 1 + kill('KILL', @children);
	delete @stopped{ $postmaster, @children };
	wait_for(sub { !grep { -e "/proc/$_" } $postmaster, @children });
	return $killed;
}

# Kill the postmaster alone.  Its backends live on until they notice; returns the
# processes that it leaves behind.
sub kill_postmaster
{
	my ($node) = @_;
	my $postmaster = $node->{_pid};
	my @children = children_at_last($postmaster);

	$node->kill9;
	delete $stopped{$postmaster};
	wait_for(sub { !-e "/proc/$postmaster" });
	return @children;
}

# Start a server after that: a new postmaster is refused as long as one of those
# processes is there.
sub start_again
{
	my ($node, @children) = @_;

	return wait_for(sub { !grep { -e "/proc/$_" } @children })
	  && wait_for(sub { $node->start(fail_ok => 1) });
}

# Waits until a server lets somebody in.  Not with the server's own psql(), which
# dies where psql has ended before it could be given the statement.
sub answers
{
	my ($node) = @_;
	my $dsn = $node->connstr('postgres');
	return wait_for(sub { system("psql -XAtq -d '$dsn' -c 'SELECT 1' >/dev/null 2>&1") == 0 });
}

# Backends of a server have been killed: waits until it has started again.  Until
# it knows of them it lets others in, only to end them.
sub crashed_and_back
{
	my ($node, @pids) = @_;
	return wait_for(sub { !grep { -e "/proc/$_" } @pids }) && answers($node);
}

# A PgBouncer before a server, given by its program and settings; returns what
# there is to know of it, or undef if it does not start.
my @poolers;

sub start_pgbouncer
{
	my ($node, %setting) = @_;
	my $program = delete $setting{program};
	my $dir = PostgreSQL::Test::Utils::tempdir_short();
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	my $user = $node->safe_psql('postgres', 'SELECT current_user');
	my ($host, $node_port) = ($node->host, $node->port);
	my $settings = join('', map { "$_ = $setting{$_}\n" } sort keys %setting);

	PostgreSQL::Test::Utils::append_to_file("$dir/users", qq{"$user" ""\n});
	PostgreSQL::Test::Utils::append_to_file("$dir/pgbouncer.ini", <<"INI");
[databases]
* = host=$host port=$node_port
[pgbouncer]
listen_addr =
listen_port = $port
unix_socket_dir = $dir
auth_type = trust
auth_file = $dir/users
logfile = $dir/log
pidfile = $dir/pid
$settings
INI
	my $pid = fork();
	die "could not fork: $!" unless defined $pid;
	if ($pid == 0)
	{
		open(STDIN, '<', '/dev/null');
		open(STDOUT, '>', '/dev/null');
		open(STDERR, '>', '/dev/null');
		exec($program, "$dir/pgbouncer.ini") or POSIX::_exit(1);
	}
	push @poolers, $pid;
	return unless wait_for(sub { -S "$dir/.s.PGSQL.$port" }, 20);
	return { pid => $pid, dir => $dir, port => $port, user => $user,
		connstr => "host=$dir port=$port user=$user dbname=postgres" };
}

sub stop_pgbouncer
{
	my ($pooler) = @_;
	kill('KILL', $pooler->{pid});
	waitpid($pooler->{pid}, 0);
	@poolers = grep { $_ != $pooler->{pid} } @poolers;
}

END
{
	my $status = $?;
	foreach (@poolers)
	{
		kill('KILL', $_);
		waitpid($_, 0);
	}
	$? = $status;
}

# A psql that stays connected.
package SessmgrTest::Psql;

use strict;
use warnings;

use IO::Select;
use IPC::Open3;
use Symbol qw(gensym);
use Test::More ();
use Time::HiRes qw(time);

# options: user, db, password
sub new
{
	my ($class, $node, %option) = @_;
	my $self = bless({ n => 0, err => gensym() }, $class);
	my $connstr = $node->connstr($option{db} // 'postgres');

	$connstr .= " user=$option{user}" if $option{user};
	local $ENV{PGPASSWORD} = $option{password} // '';
	$self->{psql} =
	  open3($self->{in}, $self->{out}, $self->{err}, 'psql', '-XAtq', '-d', $connstr, '-f', '-');
	$self->{in}->autoflush(1);
	$self->run('\set VERBOSITY verbose');
	$self->{pid} = $self->value('SELECT pg_backend_pid()');
	return $self;
}

# Starts a statement (or several, or psql's own commands).
sub start
{
	my ($self, $sql) = @_;
	my $mark = '=' . ++$self->{n} . '=';
	local $SIG{PIPE} = 'IGNORE';

	$sql .= ';' unless $sql =~ /^\\|;\s*$|\\gset/;
	$self->{started} = time();
	print { $self->{in} } "$sql\n\\echo $mark\n\\warn $mark\n";
}

# Waits for the end of what was started last.  Returns the output, the errors,
# and the SQLSTATE of the first error ("" if there was none).  {lost} is true if
# psql has ended instead, as it does when its connection is lost.
sub finish
{
	my ($self) = @_;
	my $mark = '=' . $self->{n} . '=';
	my %text = (out => '', err => '');
	my $streams = IO::Select->new($self->{out}, $self->{err});
	my $end = time() + $SessmgrTest::patience;

	# until both say so, or psql has ended
	while ($streams->count && grep { $text{$_} !~ /^$mark\n/m } keys %text)
	{
		my @ready = $streams->can_read(1);
		die "no end within $SessmgrTest::patience s: $text{out} $text{err}" if time() > $end;
		foreach my $stream (@ready)
		{
			my $name = $stream == $self->{out} ? 'out' : 'err';
			sysread($stream, $text{$name}, 65536, length($text{$name}))
			  or $streams->remove($stream);
		}
	}
	$self->{seconds} = time() - $self->{started};
	$self->{lost} = $text{out} !~ /^$mark$/m;
	s/^$mark\n.*\z//ms for values %text;
	chomp $text{out};
	my ($state) = $text{err} =~ /(?:ERROR|FATAL):  (\w{5}):/;
	@$self{qw(last_out last_err last_state)} = (@text{qw(out err)}, $state // '');
	return (@text{qw(out err)}, $state // '');
}

sub run
{
	my ($self, $sql) = @_;
	$self->start($sql);
	return $self->finish;
}

# The output of what must not fail
sub value
{
	my ($self, $sql) = @_;
	my ($out, $err, $state) = $self->run($sql);
	Test::More::diag("$sql: $err") if $state ne '';
	return $out;
}

# Test the value of a statement
sub is
{
	my ($self, $sql, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return Test::More::is($self->value($sql), $expected, $name);
}

# Test the SQLSTATE with which a statement, or what was started, ends
sub fails
{
	my ($self, $sql, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$self->start($sql) if defined $sql;
	my ($out, $err, $state) = $self->finish;
	Test::More::note("$name: $err");
	return Test::More::is($state, $expected, $name) || Test::More::diag("$out\n$err");
}

# Opens a session on a dburi and puts its handle into psql's variable
sub open
{
	my ($self, $variable, $dburi, $options) = @_;
	$options //= '{"hold": true}';
	$self->value("SELECT sessmgr.open((sessmgr.create_session('$dburi', "
		  . "options => '$options')).factory) AS $variable \\gset");
}

sub quit
{
	my ($self) = @_;
	close($self->{in});
	waitpid($self->{psql}, 0);
}

# Kill psql itself
sub kill_client
{
	my ($self) = @_;
	kill('KILL', $self->{psql});
	waitpid($self->{psql}, 0);
}

1;
