# Chains of backends on one cluster: they end at a depth, however the cluster is
# reached, and leave nothing open.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use SessmgrTest;
use Test::More;

my $local = new_node('local', "max_connections = 50\nlisten_addresses = '127.0.0.1'\n");
my ($host, $port) = ($local->host, $local->port);
$local->safe_psql('postgres', qq{
	CREATE EXTENSION sessmgr;
	CREATE SERVER loop FOREIGN DATA WRAPPER sessmgr OPTIONS (loopback 'true');
	CREATE SERVER tcp FOREIGN DATA WRAPPER sessmgr OPTIONS (host '127.0.0.1', port '$port', dbname 'postgres');
	CREATE USER MAPPING FOR CURRENT_USER SERVER loop;
	CREATE USER MAPPING FOR CURRENT_USER SERVER tcp;
	CREATE TABLE t (target text, depth int);
	CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS \$\$
	BEGIN
		IF NEW.target LIKE 'loop%' THEN PERFORM set_config('sessmgr.loopback_depth', '0', false); END IF;
		PERFORM sessmgr.execute(NEW.target, 'INSERT INTO t VALUES (\$1, \$2)', NEW.target, NEW.depth + 1);
		RETURN NEW;
	END \$\$;
	CREATE TRIGGER again BEFORE INSERT ON t FOR EACH ROW WHEN (NEW.depth < 100) EXECUTE FUNCTION again()});

sub backends { return scalar(remote_backends($local)); }

foreach my $target ('loopback:', 'loop', 'tcp', "postgresql://127.0.0.1:$port/postgres",
	"host=$host port=$port dbname=postgres")
{
	my $psql = psql($local);
	$psql->fails("INSERT INTO t VALUES ('$target', 0)", '54001', "a trigger that reaches its own table: $target");
	like($psql->{last_err}, qr/is number 16/, '... ends at the limit');
	ok(wait_for(sub { backends() == 0 }), '... and leaves nothing open, in a backend that stays');
	$psql->is("SELECT count(*) FROM t", 0, '... nor any row');
	$psql->quit;
}

# one that is not too deep, and what it is called with stays open
my $psql = psql($local);
$psql->value(q{INSERT INTO t VALUES ('loopback:', 90)});
is(backends(), 10, 'a chain of ten');
$psql->is('SELECT count(*) FROM t', 11, '... does its work');
$psql->value(q{TRUNCATE t});
$psql->value(q{INSERT INTO t VALUES ('loopback:', 90)});
is(backends(), 10, '... again over the same connections');

# the limit is the administrator's
$psql->value('SELECT sessmgr.reset()');
$psql->value(q{SET sessmgr.max_loopback_depth = 1});
$psql->is(q{SELECT sessmgr.scalar('loopback:', 'SELECT 1')}, 1, 'a limit of one: one');
$psql->is(q{SELECT sessmgr.scalar('loopback:', 'SHOW sessmgr.loopback_depth')}, 1, '... which knows its depth');
$psql->value(q{ALTER SYSTEM SET sessmgr.max_loopback_depth = 2});
$psql->value('SELECT pg_reload_conf()');
$psql->quit;
ok(wait_for(sub {
	my $fresh = psql($local);
	$fresh->run(q{INSERT INTO t VALUES ('loopback:', 0)});
	$fresh->quit;
	$fresh->{last_err} =~ /is number 2/; }), 'a limit of two');
done_testing();
