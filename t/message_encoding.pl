# What is told at the end of a transaction, when nothing may fail any more, is
# told also where the client's encoding has no characters for a target's name.

use strict;
use warnings;
use utf8;

use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Utils;
use SessmgrTest;
use Test::More;

my ($library, $why) = test_library();
plan(skip_all => $why) unless $library;

my $remote = new_node('remote', 'max_prepared_transactions = 5');
my $local = new_node('local');
my $name = "日本";
utf8::encode($name);

$remote->safe_psql('postgres', q{
	CREATE TABLE t (a int);
	CREATE FUNCTION chatter() RETURNS void LANGUAGE plpgsql AS
		$$ BEGIN FOR i IN 1..1010 LOOP RAISE NOTICE '%', i; END LOOP; END $$});
$local->safe_psql('postgres', 'CREATE EXTENSION sessmgr; CREATE TABLE t (a int)');
use_test_library($local, $library);
new_server($local, $remote, qq{"$name"}, q{cleanup_timeout '5s'});

my $psql = psql($local);
my $started = $local->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');
$psql->value("SET client_encoding = 'LATIN1'");
# the name itself cannot be said in this encoding, but written in ASCII
my $target = join('||', q{''}, map { sprintf('chr(%d)', ord) } split(//, "日本"));

sub add
{
	my ($mode) = @_;
	return qq{SELECT sessmgr.execute(sessmgr.open((sessmgr.create_session($target,
		options => '{"transaction": "$mode"}')).factory), 'INSERT INTO t VALUES (1)')};
}

# Go on after the connections there have been cut
sub cut_and_go_on
{
	$remote->safe_psql('postgres', q{SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity
		WHERE application_name = 'sessmgr'});
	continue_process($psql->{pid});
	my @result = $psql->finish;
	$psql->value('RESET sessmgr.injection_point');
	return @result;
}

sub still_up
{
	my ($what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($local->safe_psql('postgres', 'SELECT pg_postmaster_start_time()'), $started,
		"$what: the server has not been restarted");
	$psql->is('SELECT 1', 1, "$what: the backend is alive");
}

# ---- after the local commit

$psql->value('BEGIN; INSERT INTO t VALUES (1); ' . add('two_phase'));
$psql->value(q{SET sessmgr.injection_point = 'committed'});
$psql->start('COMMIT');
ok(stops($psql->{pid}), 'after the local commit') or BAIL_OUT('not reached');
my ($out, $err, $state) = cut_and_go_on();
is($state, '', 'COMMIT succeeds');
like($err, qr/WARNING:  08007: a transaction may still be prepared on a target.*sessmgr_\d+.*is to be committed/s,
	'with a warning that does without the name');
still_up('COMMIT');
$psql->is("SELECT outcome FROM sessmgr.recover($target)", 'committed', 'recover() does the rest');
is($local->safe_psql('postgres', 'SELECT count(*) FROM t'), 1, 'done here');
is($remote->safe_psql('postgres', 'SELECT count(*) FROM t'), 1, 'and there');

# ---- in the local abort: when all is prepared, a joined COMMIT fails

$psql->value('BEGIN; INSERT INTO t VALUES (1); ' . add('two_phase') . ';' . add('joined'));
$psql->value(q{SET sessmgr.injection_point = 'all prepared'});
$psql->start('COMMIT');
ok(stops($psql->{pid}), 'before the local commit') or BAIL_OUT('not reached');
($out, $err, $state) = cut_and_go_on();
is($state, '22P05', 'COMMIT fails, with what PostgreSQL makes of an error that has such a name');
like($err, qr/WARNING:  08007: a transaction may still be prepared on (?:a target|"\?+").*is to be rolled back/s,
	'with a warning that does without the name');
still_up('ROLLBACK');
$psql->is("SELECT outcome FROM sessmgr.recover($target)", 'rolled back', 'recover() does the rest');
is($local->safe_psql('postgres', 'SELECT count(*) FROM t'), 1, 'nothing here');

# ---- work that is not committed

($out, $err, $state) = $psql->run('BEGIN; INSERT INTO t VALUES (2); ' . add('manual') . '; COMMIT');
is($state, '', 'COMMIT succeeds with uncommitted work in a session');
like($err, qr/WARNING:  25005: uncommitted work of a session is rolled back/, 'with a warning');
is($local->safe_psql('postgres', 'SELECT count(*) FROM t'), 2, 'done here');
is($remote->safe_psql('postgres', 'SELECT count(*) FROM t'), 1, 'and not there');

# ---- what was sent, and is given up too late

$psql->value('BEGIN');
$psql->value(qq{SELECT sessmgr.open((sessmgr.create_session($target,
	options => '{"transaction": "autocommit"}')).factory) AS s \\gset});
$psql->value(q{SELECT sessmgr.send(:'s'::sessmgr.session, 'INSERT INTO t VALUES (1)')});
wait_for(sub { $remote->safe_psql('postgres', 'SELECT count(*) FROM t') == 2 });
($out, $err, $state) = $psql->run('ROLLBACK');
is($state, '', 'ROLLBACK succeeds');
like($err, qr/WARNING:  08007: a statement that was sent and not received could not be canceled.*It has been done/s,
	'and says what it could not take back');
still_up('send');

# ---- notices that are only counted

($out, $err, $state) = $psql->run(qq{SELECT sessmgr.execute($target, 'SELECT chatter()')});
is("$state|$out", '|1', 'what raised too many notices has succeeded');
is(() = $err =~ /NOTICE:  00000: \d+$/mg, 1000, 'they are shown without the name');
like($err, qr/NOTICE:  00000: 10 more notices of a target were not kept/, 'or counted');
still_up('notices');

$psql->quit;
$local->stop;
$remote->stop;
done_testing();
