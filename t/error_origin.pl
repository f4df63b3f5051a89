# An error that is kept and thrown again says where it came from, as every other
# one does.  It outlives the memory that it was kept in: a PL frees that before
# the error is sent.  The servers overwrite freed memory, so that it shows.

use strict;
use warnings;

BEGIN { $ENV{MALLOC_PERTURB_} = 165; }

use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Utils;
use SessmgrTest;
use Test::More;

my ($local, $remote) = new_pair(
	local => "max_prepared_transactions = 5\nlog_error_verbosity = verbose\n",
	remote => "max_prepared_transactions = 5\n");
new_server($local, $remote, 'joined', "transaction 'joined'");
new_server($local, $remote, 'two_phase', "transaction 'two_phase'");

$remote->safe_psql('postgres', q{
	CREATE ROLE guest LOGIN PASSWORD 'guest';
	CREATE TABLE deferred (i int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED);
	INSERT INTO deferred VALUES (1);
	CREATE SCHEMA closed});
$local->safe_psql('postgres', qq{
	CREATE ROLE guest LOGIN;
	GRANT USAGE ON SCHEMA sessmgr TO guest;
	GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA sessmgr TO guest;
	GRANT USAGE ON FOREIGN SERVER remote, joined, two_phase TO guest;
	CREATE USER MAPPING FOR guest SERVER remote OPTIONS (user 'guest', password 'guest', password_required 'false');
	GRANT CREATE ON DATABASE postgres TO guest;
	SET ROLE guest;
	CREATE SCHEMA closed;
	CREATE TABLE closed.model (i int);
	SELECT sessmgr.add_model('closed.model')});
my $user = $local->safe_psql('postgres', 'SELECT current_user');
$local->safe_psql('postgres', qq{
	CREATE USER MAPPING FOR guest SERVER $_ OPTIONS (user '$user', password_required 'false')})
  foreach qw(joined two_phase);

# A statement whose text is made of so many parts that they do not all fit into
# the first block of the memory context that they are made in, which is kept.
sub long
{
	my ($sql) = @_;
	return "'$sql /* ' || " . join(' || ', ("repeat('x', 500)") x 60) . q{ || ' */'};
}

sub in_block
{
	my ($sql) = @_;
	return "DO \$a\$ DECLARE x text; BEGIN $sql; END \$a\$";
}

my @cases = (
	[ 'a local statement_timeout', q{SET statement_timeout = '300ms'},
		in_block('x := sessmgr.scalar(\'remote\', ' . long('SELECT pg_sleep(60)') . ')'), '57014' ],
	[ 'a local statement_timeout in execute_all', q{SET statement_timeout = '300ms'},
		in_block('x := (SELECT count(*) FROM sessmgr.execute_all(\'{remote,remote}\', ' . long('SELECT pg_sleep(60)') . '))'), '57014' ],
	[ 'the same, in what runs here', q{SET statement_timeout = '300ms'},
		in_block('x := (SELECT count(*) FROM sessmgr.execute_all(\'{spi:}\', ' . long('SELECT pg_sleep(60)') . '))'), '57014' ],
	[ 'a local statement_timeout in query_all', q{SET statement_timeout = '300ms'},
		in_block('x := (SELECT count(*) FROM sessmgr.query_all(\'{remote,remote}\', ' . long('SELECT pg_sleep(60)') . ') t(a text, b text))'), '57014' ],
	[ 'a local lock_timeout', q{SET lock_timeout = '300ms'},
		in_block('x := sessmgr.scalar(\'spi:\', ' . long('SELECT pg_advisory_lock(1)') . ')'), '55P03' ],
	[ 'models that may not be made', '',
		in_block(q{x := sessmgr.prepare_models(sessmgr.get_engine('remote'))}), '42501' ],
	[ 'a joined transaction that cannot commit', '',
		'SELECT set_config(\'a.b\', sessmgr.execute(\'joined\', ' . long('INSERT INTO deferred VALUES (1)') . ')::text, false)', '23505' ],
	[ 'a two-phase transaction that cannot be prepared', '',
		'SELECT set_config(\'a.b\', sessmgr.execute(\'two_phase\', ' . long('INSERT INTO deferred VALUES (1)') . ')::text, false)', '23505' ],
);

my $locker = psql($local);
$locker->value('SELECT pg_advisory_lock(1)');
foreach my $case (@cases)
{
	my ($name, $before, $sql, $state) = @$case;
	my $offset = -s $local->logfile;
	my $psql = psql($local, user => 'guest');
	my $where = qr/^LOCATION:  \w+, [\w.\/-]+:\d+$/m;

	$psql->value($before) if $before;
	$psql->fails($sql, $state, $name);
	like($psql->{last_err}, $where, "$name: where");
	ok(!$psql->{lost}, "$name: the server lives");
	my @logged = log_since($local, $offset) =~ /LOCATION:  (.*)/g;
	ok(@logged && !(grep { !/^\w+, [\w.\/-]+:\d+$/ } @logged), "$name: and in the log")
	  || diag("@logged");
	$psql->quit;
}

done_testing();
