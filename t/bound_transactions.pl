# More of what is bound to the local transaction: statements whose plans are
# stale, recover() beside work on the same target, transaction control as text,
# and settings of the transaction there.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use SessmgrTest;
use Test::More;

my ($local, $remote) = new_pair(remote => 'max_prepared_transactions = 10');
new_server($local, $remote, 'j', q{transaction 'joined'});
new_server($local, $remote, 'p', q{transaction 'two_phase'});
new_server($local, $remote, "quick_$_->[0]", "transaction '$_->[1]', cleanup_timeout '1s'")
  foreach [ 'j', 'joined' ], [ 'p', 'two_phase' ];
my $psql = psql($local);
my $there = psql($remote);
my $s = q{:'s'::sessmgr.session};

# What is committed there, and is anything left prepared?
sub committed
{
	my ($expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$there->is(q{WITH d AS (DELETE FROM t RETURNING a)
		SELECT coalesce(string_agg(a::text, ',' ORDER BY a), '-') || ' ' || (SELECT count(*) FROM pg_prepared_xacts)
		FROM d}, "$expected 0", "$name: there, and prepared");
}

# ---- a statement that is sent in one subtransaction and received in another,
# and must be prepared and run anew on the way

my $insert = 'INSERT INTO t VALUES ($1) RETURNING *';
my $columns = 1;
my $adds = 0;

# So often that its prepared statement is used, and then no longer good
sub make_stale
{
	my ($how) = @_;
	$psql->value("SELECT sessmgr.execute($s, '$insert', 0)") foreach 1 .. 3;
	if ($how eq '0A000')
	{
		$there->value("ALTER TABLE t ADD x$columns int");
		$columns++;
	}
	else
	{
		# the command tag does not tell that they are gone
		$psql->value(qq{BEGIN; SELECT sessmgr.execute($s, 'DO \$\$ BEGIN EXECUTE ''DEALLOCATE ALL''; END \$\$'); COMMIT});
	}
	$there->value('DELETE FROM t');
}

sub receive
{
	return "SELECT a FROM sessmgr.receive($s) AS r(" . join(', ', 'a int', map { "x$_ int" } 1 .. $_[0] - 1) . ')';
}

$there->value('CREATE TABLE t (a int)');
foreach my $dburi ('j', 'p')
{
	$psql->open('s', $dburi);
	foreach my $how ('0A000', '26000')
	{
		my $case = "$dburi, stale by $how";
		my $again = sub {
			my ($sql, $expected, $name) = @_;
			make_stale($how);
			$sql =~ s/SEND/SELECT sessmgr.send($s, '$insert', 1)/;
			$sql =~ s/RECEIVE/receive($columns)/e;
			# each with a text of its own, so that none is prepared
			$sql =~ s/ADD (\d)/"SELECT sessmgr.execute($s, 'INSERT INTO t VALUES ($1) -- " . ++$adds . "')"/ge;
			$psql->fails("BEGIN; $sql; COMMIT", '', "$case: $name");
			committed($expected, "$case: $name");
		};

		# what was sent outside of a savepoint does not go with it
		$again->('SEND; SAVEPOINT a; RECEIVE; ROLLBACK TO a', '1', 'received in a savepoint');
		$again->('SEND; SAVEPOINT a; RECEIVE; ADD 2; ROLLBACK TO a; ADD 3', '1,3', 'and used on');
		$again->('SEND; SAVEPOINT a; SAVEPOINT b; RECEIVE; RELEASE b; ROLLBACK TO a', '1', 'received deeper');
		$again->('SAVEPOINT a; SEND; SAVEPOINT b; RECEIVE; ROLLBACK TO b', '1', 'sent in a savepoint, received in the next');
		$again->('SAVEPOINT a; SEND; SAVEPOINT b; RECEIVE; ROLLBACK TO a', '-', 'and both rolled back');
		# nor does it stay where its savepoint was rolled back
		$again->('SAVEPOINT a; SEND; RECEIVE; ROLLBACK TO a; ADD 2', '2', 'sent and received in a savepoint');
		$again->('SAVEPOINT a; SAVEPOINT b; SEND; RELEASE b; RECEIVE; ROLLBACK TO a', '-', 'sent in what is released');
		# the savepoints of the first attempt are no more
		$again->('SAVEPOINT a; SEND; RELEASE a; RECEIVE; SAVEPOINT b; ADD 2; ROLLBACK TO b; ADD 3', '1,3',
			'received after a savepoint');
	}

	# the target does not answer when it is to begin once more: what was sent is lost
	$psql->value("SELECT sessmgr.close($s)");
	$psql->open('s', "quick_$dburi");
	make_stale('0A000');
	$psql->value("BEGIN; SELECT sessmgr.send($s, '$insert', 1)");
	wait_for(sub { $psql->value("SELECT sessmgr.is_busy($s)") eq 'f' });
	my $pid = $psql->value(q{SELECT remote_pid FROM sessmgr.sessions WHERE session IS NOT NULL});
	stop_process($pid);
	$psql->fails('SAVEPOINT a; ' . receive($columns), '08006', "$dburi, begun once more and lost");
	continue_process($pid);
	$psql->fails('ROLLBACK TO a; COMMIT', '08006', "$dburi, begun once more and lost: COMMIT");
	committed('-', "$dburi, begun once more and lost");
	$psql->value("SELECT sessmgr.close($s)");
}

# ---- recover() in a transaction that has work of its own on that target

my $add = q{SELECT sessmgr.execute('p', 'INSERT INTO t VALUES ($1)', 1)};
my $recover = q{SELECT * FROM sessmgr.recover('p')};
$psql->value($recover);
foreach my $case (
	[ "$add; $recover", 'after it' ],
	[ "$add; SAVEPOINT a; $recover", 'in a savepoint' ],
	[ "SAVEPOINT a; $add; RELEASE a; $recover; $recover", 'in a savepoint, and twice outside' ])
{
	my ($sql, $name) = @$case;
	$psql->value($add);
	$psql->is(q{SELECT count(*) FROM sessmgr.two_phase}, 1, "recover $name: the row of what was done before");
	$there->value('DELETE FROM t');
	$psql->fails("BEGIN; $sql; COMMIT", '', "recover $name");
	committed(1, "recover $name");
	$psql->is(q{SELECT count(*) FROM sessmgr.two_phase}, 1, "recover $name: no other row is left");
	$psql->is($recover, '', "recover $name: nothing is to be recovered");
	$psql->is(q{SELECT count(*) FROM sessmgr.two_phase}, 0, "recover $name: and the row goes afterwards");
}

# ---- transaction control as text, whose error is caught: the local transaction
# does not commit, and it is not said that nothing was done there

foreach my $dburi ('j', 'p')
{
	foreach my $case ([ 'COMMIT', '5' ], [ 'COMMIT AND CHAIN', '5' ], [ 'ROLLBACK', '-' ])
	{
		my ($text, $expected) = @$case;
		my $name = "$dburi, $text as text";
		my $caught = sub {
			return qq{DO \$\$ BEGIN PERFORM sessmgr.execute('$dburi', '$_[0]');
				EXCEPTION WHEN invalid_transaction_termination OR in_failed_sql_transaction THEN
					RAISE WARNING '%', SQLSTATE; END \$\$};
		};
		$psql->value(qq{BEGIN; SELECT sessmgr.execute('$dburi', 'INSERT INTO t VALUES (5)')});
		$psql->run($caught->($text));
		like($psql->{last_err}, qr/WARNING:  01000: 2D000/, "$name: is refused");
		$psql->run($caught->('SELECT 1'));
		like($psql->{last_err}, qr/WARNING:  01000: 25P02/, "$name: and so is what follows");
		$psql->fails('COMMIT', '08007', "$name: COMMIT");
		like($psql->{last_err}, qr/may be committed/, "$name: the truth");
		unlike($psql->{last_err}, qr/rolled back/, "$name: and nothing else");
		committed($expected, $name);
	}
	# nor does going back to a savepoint help
	foreach my $case (
		[ 'a one-liner', "SELECT sessmgr.execute('$dburi', '%s')" ],
		[ 'a session', q{SELECT sessmgr.execute(:'opened'::sessmgr.session, '%s')} ])
	{
		my ($what, $call) = @$case;
		my $name = "$dburi, COMMIT as text in a savepoint, $what";
		my $open = sprintf(q{SELECT sessmgr.open((sessmgr.create_session('%s')).factory) AS opened \\gset}, $dburi);
		$psql->value('BEGIN; SAVEPOINT a');
		$psql->value($open);
		$psql->value(sprintf($call, 'INSERT INTO t VALUES (7)'));
		$psql->fails(sprintf($call, 'COMMIT'), '2D000', "$name: is refused");
		$psql->value('ROLLBACK TO a');
		$psql->fails('COMMIT', '08007', "$name: COMMIT");
		committed(7, $name);
		$psql->value(q{ROLLBACK});
	}
	# what a connection has lost by itself is rolled back
	$psql->value(qq{BEGIN; SELECT sessmgr.execute('$dburi', 'INSERT INTO t VALUES (6)')});
	$there->value(q{SELECT count(pg_terminate_backend(pid, 60000)) FROM pg_stat_activity
		WHERE application_name = 'sessmgr' AND state = 'idle in transaction'});
	$psql->fails('COMMIT', '08006', "$dburi, lost: COMMIT");
	committed('-', "$dburi, lost");
}
$psql->value($recover);

# ---- a role that is set there for a two-phase transaction: whoever prepares it
# has to commit it

$there->value(q{CREATE ROLE x; CREATE ROLE u LOGIN; GRANT x TO u; GRANT ALL ON t TO x, u;
	CREATE FUNCTION deferred() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
	CREATE CONSTRAINT TRIGGER deferred AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW WHEN (new.a > 10) EXECUTE FUNCTION deferred()});
new_server($local, $remote, 'u', q{transaction 'two_phase'});
$psql->value(q{ALTER USER MAPPING FOR CURRENT_USER SERVER u OPTIONS (ADD user 'u')});
foreach my $set ('SET LOCAL ROLE x', q{SELECT set_config('role', 'x', true)}, 'SET ROLE x')
{
	foreach my $n (7, 11)
	{
		my $name = "$set, " . ($n > 10 ? 'with' : 'without') . ' a deferred trigger';
		$psql->value('BEGIN');
		$psql->value("SELECT sessmgr.execute('u', \$s\$$_\$s\$)") foreach $set, "INSERT INTO t VALUES ($n)";
		$psql->is(q{SELECT sessmgr.scalar('u', 'SELECT current_user')}, 'x', "$name: it is set");
		$psql->fails('COMMIT', '', "$name: COMMIT");
		unlike($psql->{last_err}, qr/WARNING/, "$name: without a warning");
		$there->is('SELECT owner FROM pg_prepared_xacts', '', "$name: nothing stays prepared");
		committed($n, $name);
		$psql->is(q{SELECT sessmgr.scalar('u', 'SELECT current_user')}, 'u', "$name: and it does not stay")
		  unless $set eq 'SET ROLE x';
		$there->value("ROLLBACK PREPARED '$_'") foreach split(/\n/, $there->value('SELECT gid FROM pg_prepared_xacts'));
	}
}

done_testing();
