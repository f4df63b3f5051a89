# postgres --single: not forked from a postmaster, so nothing is kept.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use IPC::Run ();
use SessmgrTest;
use Test::More;

my ($local, $remote) = new_pair(remote => "log_disconnections = on\n");
$remote->safe_psql('postgres', 'CREATE TABLE t (id int)');
$local->stop;

# Runs statements, one a line; returns what came out, and the messages.
sub single
{
	my (@statements) = @_;
	my $input = join('', map { s/\s+/ /gr . "\n" } @statements);
	my ($out, $err) = ('', '');
	IPC::Run::run(
		[ 'postgres', '--single', '-D', $local->data_dir, '-c', 'log_error_verbosity=verbose', 'postgres' ],
		'<', \$input, '>', \$out, '2>', \$err, IPC::Run::timeout($SessmgrTest::patience));
	note($out, $err);
	return ($out, $err);
}

my ($out, $err) = single(
	q{SELECT sessmgr.forked() AS forked},
	q{SELECT sessmgr.scalar('remote', 'SELECT 42') AS answer},
	q{SELECT count(*) AS engines FROM sessmgr.engines},
	q{SELECT count(*) AS connections FROM sessmgr.connections},
	q{SELECT sessmgr.scalar('remote', 'SELECT pg_backend_pid()') <>
		sessmgr.scalar('remote', 'SELECT pg_backend_pid()') AS differ});
unlike($err, qr/(?:ERROR|FATAL|PANIC):/, 'no error');
like($out, qr/forked = "f"/, 'not forked');
like($out, qr/answer = "42"/, 'a one-liner works');
like($out, qr/engines = "0"/, 'no engine is kept');
like($out, qr/connections = "0"/, 'no connection is kept');
like($out, qr/differ = "t"/, 'each was closed after its use');

# handles are good until the transaction ends
($out, $err) = single(
	q{DO $$ DECLARE e sessmgr.engine := sessmgr.get_engine('remote', '{"pool_size": 3}');
		s sessmgr.session;
		n bigint;
	  BEGIN
		s := sessmgr.open((sessmgr.create_session('remote')).factory);
		PERFORM sessmgr.execute(s, 'INSERT INTO t VALUES (1)');
		PERFORM sessmgr.execute(s, 'INSERT INTO t VALUES (2)');
		PERFORM sessmgr.commit(s);
		PERFORM sessmgr.execute(s, 'INSERT INTO t VALUES (3)');
		PERFORM sessmgr.rollback(s);
		SELECT count(*) INTO n FROM sessmgr.connections;
		RAISE WARNING 'connections=%', n;
		RAISE WARNING 'same=%', e OPERATOR(sessmgr.=) sessmgr.get_engine('remote');
		RAISE WARNING 'idle=%', sessmgr.dispose(e);
		PERFORM set_config('test.e', e::text, false), set_config('test.s', s::text, false);
	  END $$},
	q{SELECT sessmgr.dispose(current_setting('test.e')::sessmgr.engine)},
	q{SELECT sessmgr.execute(current_setting('test.s')::sessmgr.session, 'SELECT')},
	q{SELECT sessmgr.scalar('remote', 'SELECT count(*) FROM t') AS rows},
	q{SELECT count(*) AS engines FROM sessmgr.engines});
like($err, qr/connections=0/, 'none is open between transactions of a session');
like($err, qr/same=f/, 'a second get_engine makes a second engine');
like($err, qr/idle=0/, 'there is nothing to dispose of');
my @states = $err =~ /ERROR:  (\w{5}):/g;
is("@states", '55000 55000', 'handles end with the transaction');
like($out, qr/rows = "2"/, 'the session worked');
like($out, qr/engines = "0"/, 'no engine is left');

# errors and cancels leave it usable
($out, $err) = single(
	q{SELECT sessmgr.execute('remote', 'SELECT 1/0')},
	q{SET statement_timeout = '1s'},
	q{SELECT sessmgr.execute('remote', 'SELECT pg_sleep(600)')},
	q{RESET statement_timeout},
	q{SELECT sessmgr.scalar('remote', 'SELECT 43') AS answer});
@states = $err =~ /ERROR:  (\w{5}):/g;
is("@states", '22012 57014', 'errors are errors');
like($out, qr/answer = "43"/, 'and it works afterwards');

gone_soon($remote, '', 'no connection is left');
unlike(log_since($remote), qr/unexpected EOF|connection to client lost|Connection reset/,
	'all connections ended properly');
$remote->stop;
done_testing();
