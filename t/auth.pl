# Passwords: an ordinary role connects with the one in its user mapping and
# with nothing else, a change takes effect on the next use, and no secret gets
# into a message or a log.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Utils;
use SessmgrTest;
use Test::More;

# What the server's operating system user has, none of which is the role's.
my $home = PostgreSQL::Test::Utils::tempdir;
my @secrets = ('hush_right', 'hush_wrong', 'hush_new', 'hush_uri', 'hush_os');
$ENV{PGPASSFILE} = "$home/pgpass";
$ENV{PGSERVICEFILE} = "$home/service";
$ENV{PGPASSWORD} = 'hush_os';
append_to_file("$home/pgpass", "*:*:*:*:hush_os\n");
chmod(0600, "$home/pgpass");

my $remote = new_node('remote');
my ($host, $port) = ($remote->host, $remote->port);
append_to_file("$home/service", "[os]\nhost=$host\nport=$port\nuser=os\npassword=hush_os\n");
$remote->safe_psql('postgres', q{
	SET password_encryption = 'scram-sha-256';
	CREATE ROLE os SUPERUSER LOGIN PASSWORD 'hush_os';
	CREATE ROLE app LOGIN PASSWORD 'hush_right';
	CREATE ROLE trusted LOGIN PASSWORD 'hush_right';
	CREATE TABLE t (id int);
	GRANT ALL ON t TO PUBLIC});
unlink($remote->data_dir . '/pg_hba.conf');
$remote->append_conf('pg_hba.conf', <<'HBA');
local all os,app scram-sha-256
local all refused reject
local all all trust
HBA
$remote->reload;

# the server of the tests has these in its environment, as an administrator might
my $local = new_node('local');
delete $ENV{PGPASSWORD};
$local->safe_psql('postgres', qq{
	CREATE EXTENSION sessmgr;
	CREATE ROLE app LOGIN;
	GRANT USAGE ON SCHEMA sessmgr TO app;
	GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA sessmgr TO app;
	GRANT USAGE ON FOREIGN DATA WRAPPER sessmgr TO app;
	CREATE SERVER s FOREIGN DATA WRAPPER sessmgr
		OPTIONS (host '$host', port '$port', dbname 'postgres');
	GRANT USAGE ON FOREIGN SERVER s TO app});

my $app = psql($local, user => 'app');
my $admin = psql($local);
my $who = q{SELECT sessmgr.scalar('s', 'SELECT session_user')};

# Sets the options of app's user mapping
sub map_app
{
	my ($options) = @_;
	$admin->value('DROP USER MAPPING IF EXISTS FOR app SERVER s');
	$admin->value("CREATE USER MAPPING FOR app SERVER s OPTIONS ($options)");
}

# No secret in what psql got
sub hushed
{
	my ($name) = @_;
	my @found = grep { $app->{last_err} =~ /$_/ } @secrets;
	is("@found", '', "$name: no secret in the message");
}

map_app(q{user 'app', password 'hush_right'});
$app->is($who, 'app', 'scram with the password of the user mapping');
$app->is('SELECT connects FROM sessmgr.engines', 1, 'one connect');

$admin->value(q{ALTER USER MAPPING FOR app SERVER s OPTIONS (SET password 'hush_wrong')});
$app->fails($who, '08001', 'a changed password takes effect on the next use');
like($app->{last_err}, qr/password authentication failed for user "app"/, 'and the reason is shown');
hushed('wrong password');

$remote->safe_psql('postgres', q{ALTER ROLE app PASSWORD 'hush_new'});
$admin->value(q{ALTER USER MAPPING FOR app SERVER s OPTIONS (SET password 'hush_new')});
$app->is($who, 'app', 'the new password of both sides works');
$app->is('SELECT connects FROM sessmgr.engines', 2, 'with a new connection');

# an open connection outlives a change on the other side; a new one does not
$remote->safe_psql('postgres', q{ALTER ROLE app PASSWORD 'hush_right'});
$app->is($who, 'app', 'an open connection goes on');
$app->value(q{SELECT sessmgr.dispose(sessmgr.get_engine('s'))});
$app->fails($who, '08001', 'password changed over there');
hushed('password changed over there');
map_app(q{user 'app', password 'hush_right'});
$app->is($who, 'app', 'a mapping made anew');

# ---- an ordinary role brings its own password, or does not connect

foreach my $case (
	[ q{user 'os'}, 'no password' ],
	[ q{user 'os', password ''}, 'an empty password' ],
	[ q{user 'trusted'}, 'no password, and none asked for' ],
	[ q{user 'trusted', password 'hush_right'}, 'a password that is not asked for' ])
{
	my ($options, $name) = @$case;
	my $offset = -s $remote->logfile;

	map_app($options);
	$app->fails($who, '2F003', $name);
	hushed($name);
	$app->is('SELECT count(*) FROM sessmgr.connections', 0, "$name: nothing is left open");
	unlike(log_since($remote, $offset), qr/authentication failed/, "$name: no attempt was made");
}
foreach my $uri (
	"postgresql://os\@/postgres?host=$host&port=$port",
	"host=$host port=$port dbname=postgres user=os",
	"postgresql:///postgres?host=$host&port=$port&user=os&password=")
{
	$app->fails("SELECT sessmgr.scalar('$uri', 'SELECT 1')", '2F003', "no password: $uri");
}
foreach my $argument ('service=os', "passfile=$home/pgpass user=os")
{
	$app->run("SELECT sessmgr.scalar('$argument', 'SELECT session_user')");
	isnt($app->{last_state}, '', "refused: $argument");
	like($app->{last_state}, qr/^(?:42501|2F003|22023)$/, 'with a clear error');
	hushed($argument);
}

# ---- the superuser lets the role in without

map_app(q{user 'trusted', password_required 'false'});
$app->is($who, 'trusted', q{password_required 'false'});
$app->fails(q{ALTER USER MAPPING FOR app SERVER s OPTIONS (SET password_required 'false')},
	'42501', 'which is for superusers to set');

# ---- nothing of it is in a message, a view or a log

map_app(q{user 'refused', password 'hush_right'});
$app->fails($who, '08001', 'rejected by pg_hba.conf');
like($app->{last_err}, qr/pg_hba\.conf rejects connection/, 'and the reason is shown');
foreach my $uri (
	"postgresql://app:hush_uri\@/postgres?host=$host&port=$port",
	"host=$host port=$port dbname=postgres user=app password=hush_uri")
{
	# through a parameter: a statement's text is logged by the server itself
	$app->value("SELECT '$uri' AS uri \\gset");
	$app->value(q{SELECT set_config('test.uri', :'uri', false)});
	$app->fails(q{SELECT sessmgr.scalar(current_setting('test.uri'), 'SELECT 1')},
		'08001', 'wrong password in a URI');
	hushed('wrong password in a URI');
	$app->value(q{SELECT sessmgr.get_engine(current_setting('test.uri'))});
}
unlike($app->value('SELECT dburi FROM sessmgr.engines'), qr/hush/, 'none in the view engines');
$app->fails(q{SELECT umoptions FROM pg_user_mapping}, '42501', 'mappings are not for all to read');
$app->quit;
$admin->quit;

foreach my $node ($local, $remote)
{
	# but for those that the tests themselves gave as SQL, in a failed statement
	my @lines = grep { /hush/ && !/STATEMENT:.*USER MAPPING/ } split(/\n/, log_since($node, 0));
	is("@lines", '', 'no secret in the log of ' . $node->name);
}
$local->stop;
$remote->stop;
done_testing();
