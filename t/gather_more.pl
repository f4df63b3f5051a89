# Statements on many targets, and those that are sent and received later, where
# something blocks that is not the target's fault: an answer that is there is not
# late because it is looked at late.  And what a target must not hold up.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use SessmgrTest;
use Test::More;

my ($local, $remote) = new_pair();

# process ids of a server's sessions there, by application_name
sub there
{
	my ($name, $where) = @_;
	return split(/\n/, $remote->safe_psql('postgres',
			"SELECT pid FROM pg_stat_activity WHERE application_name = '$name'" . ($where ? " AND $where" : '')));
}

# ---- spi: takes longer than the others may (to be continued)

new_server($local, $remote, $_, "application_name '$_', connect_timeout '7', statement_timeout '7s'")
  foreach 'warm', 'cold', 'endless';
my $statement = q{'SELECT n FROM pg_sleep(CASE WHEN current_setting(''application_name'') IN (''cold'', ''warm'', ''endless'') THEN 0 ELSE 8 END),
	generate_series(1, CASE current_setting(''application_name'') WHEN ''endless'' THEN 100000000000 ELSE 3000 END) n'};

my $execute = psql($local);
my $query = psql($local);
$execute->value(q{SELECT * FROM sessmgr.execute_all('{warm,endless}', 'SELECT 1')});
$execute->start("SELECT target, rows, sqlstate FROM sessmgr.execute_all('{spi:,cold,warm,endless}', $statement)");
$query->start("SELECT target, count(*) FROM sessmgr.query_all('{spi:,cold,warm}', $statement) AS t(target text, n bigint) GROUP BY 1 ORDER BY 1");

# ---- what was sent, and is received only after its timeout (to be continued)

new_server($local, $remote, 'sent', "application_name 'sent', statement_timeout '7s'");
my $late = psql($local);
foreach my $mode ('manual', 'autocommit')
{
	$late->open($mode, 'sent', qq({"hold": true, "transaction": "$mode"}));
	$late->value("SELECT sessmgr.send(:'$mode', 'SELECT n FROM generate_series(1, 3000) n')");
}
$late->open('endless', 'sent', '{"hold": true}');
$late->value(q{SELECT sessmgr.send(:'endless', 'SELECT n FROM generate_series(1, 100000000000) n')});
ok(wait_for(sub { there('sent', q{state IN ('idle', 'idle in transaction')}) == 2 }), 'sent: two have ended there');
$late->start('SELECT pg_sleep(7.1)');

# ---- a cancel that is not answered, where the statement's own time ends with it

{
	new_server($local, $remote, 'stuck', "application_name 'stuck', statement_timeout '5s', cleanup_timeout '5s'");
	my %psql;
	foreach my $mode ('manual', 'autocommit')
	{
		$psql{$mode} = psql($local);
		$psql{$mode}->open('s', 'stuck', qq({"hold": true, "transaction": "$mode"}));
		$psql{$mode}->value(q{SELECT sessmgr.send(:'s', 'SELECT pg_sleep(600)')});
	}
	my @pids = there('stuck');
	is(scalar(@pids), 2, 'cancel: both are there');
	stop_process(@pids);
	$_->start(q{SELECT sessmgr.cancel(:'s')}) foreach values %psql;
	$psql{manual}->fails(undef, '08006', 'cancel: without an answer');
	$psql{autocommit}->fails(undef, '08007', 'cancel: nor here, where it may last');
	foreach (values %psql)
	{
		$_->is(q{SELECT sessmgr.is_busy(:'s')}, 'f', 'cancel: nothing is sent any more');
		$_->quit;
	}
	continue_process(@pids);
}

# ---- what has come in time is not late because it is received late

$late->finish;
$late->is("SELECT count(*) FROM sessmgr.receive(:'$_') AS t(n bigint)", 3000, "sent: an answer in time ($_)")
  foreach 'manual', 'autocommit';
$late->fails(q{SELECT count(*) FROM sessmgr.receive(:'endless') AS t(n bigint)}, '57014',
	'sent: rows that keep coming are late');

# ---- nor because spi: has kept the others waiting

$execute->finish;
is($execute->{last_out}, "spi:|3000|\ncold|3000|\nwarm|3000|\nendless||57014",
	'execute_all: spi: takes no time from the others');
$query->finish;
is($query->{last_out}, "cold|3000\nspi:|3000\nwarm|3000", 'query_all: nor here') or diag($query->{last_err});

$_->quit foreach $execute, $query, $late;
done_testing();
