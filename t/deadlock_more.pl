# More deadlocks with this same cluster: see deadlock.pl.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessmgrTest;
use Test::More;
use Time::HiRes qw(time);

# also for the connections' own connections
my $local = new_node('local', "deadlock_timeout = 200ms\n");
$local->safe_psql('postgres', q{
	CREATE EXTENSION sessmgr;
	CREATE TABLE acc (id int PRIMARY KEY, v int NOT NULL DEFAULT 0);
	INSERT INTO acc SELECT generate_series(1, 10)});
my ($socket, $port) = ($local->host, $local->port);

my $admin = psql($local);
my $ours = q{pg_locks WHERE locktype = 'advisory' AND objsubid = 21331};

sub update { return "UPDATE acc SET v = v + 1 WHERE id = $_[0]"; }
sub in_session { return "SELECT sessmgr.execute(:'$_[0]'::sessmgr.session, '$_[1]')"; }

# A statement that runs one on a connection of a connection ..., $levels deep.
sub nested
{
	my ($sql, $levels, $function) = @_;
	my $tag = "\$t$levels\$";
	return $sql if $levels == 0;
	return "SELECT sessmgr.$function('loopback:', $tag" . nested($sql, $levels - 1, $function) . "$tag)";
}

sub nothing_left
{
	my ($name) = @_;
	ok(wait_for(sub { $admin->value("SELECT count(*) FROM $ours") == 0 }),
		"$name: nothing is left in pg_locks");
}

# The error of what was started, or of a statement: ours and not the server's.
sub deadlock
{
	my ($psql, $sql, $name) = @_;
	$psql->fails($sql, '40P01', $name);
	like($psql->{last_err}, qr/deadlock detected while waiting for/, "$name: found here");
	note(sprintf('%s: after %.1f s', $name, $psql->{seconds}));
}

# Does this process wait for one?
sub blocked
{
	my ($where, $name) = @_;
	ok( wait_for(sub { $admin->value(qq{
			SELECT count(*) FROM pg_stat_activity
			WHERE cardinality(pg_blocking_pids(pid)) > 0 AND $where}) == 1 }),
		$name);
}

# ---- one of many targets has ended: nobody is told any more that it is awaited

foreach my $how ('well', 'badly')
{
	my ($psql, $third) = map { psql($local) } 1, 2;
	my $fail = $how eq 'well' ? '' : ' RETURNING 1 / (id - 1)';

	$third->value('BEGIN;' . update(1));
	$psql->start(qq{
		BEGIN;
		SELECT sqlstate FROM sessmgr.execute_all(
			ARRAY['loopback:'], 'UPDATE acc SET v = v + 1 WHERE id = 1$fail')});
	ok(wait_for(sub { $admin->value("SELECT count(*) FROM $ours AND classid = 1 AND pid = $psql->{pid}") == 1 }),
		"ends $how: it waits");
	$third->value('COMMIT');
	$psql->finish;
	note($psql->{last_err}) if $psql->{last_err};
	is($psql->{last_state}, '', "ends $how: so it does");
	is($admin->value("SELECT count(*) FROM $ours"), 0, "ends $how: and nothing is left in pg_locks");
	$psql->value('ROLLBACK');
	$_->quit foreach ($psql, $third);
}

$local->stop;
done_testing();
