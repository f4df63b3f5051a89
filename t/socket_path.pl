# A target whose socket is not where its server has made it, as when the
# directory is mounted elsewhere: a cancel takes the way that the connection took.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use IO::Select;
use IO::Socket::UNIX;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SessmgrTest;
use Test::More;

my $base = PostgreSQL::Test::Utils::tempdir_short;
my ($made, $mounted) = ("$base/made", "$base/mounted");
# of Linux: a name without a file
my $abstract = $^O eq 'linux' ? '@sessmgr' . $base =~ s/\W/_/gr : undef;

my $local = new_node('local');
$local->safe_psql('postgres', 'CREATE EXTENSION sessmgr');
my $remote = PostgreSQL::Test::Cluster->new('remote');
my ($socket, $port) = ($remote->host, $remote->port);
mkdir($made) or die "could not create $made: $!";
$remote->init;
$remote->append_conf('postgresql.conf', "fsync = off\nunix_socket_directories = '"
	  . join(',', $socket, $made, $abstract // ()) . "'\n");
$remote->start;

# what is there now, where the server has made its socket, is somebody else's
rename($made, $mounted) or die "could not rename $made: $!";
mkdir($made) or die "could not create $made: $!";
my $other = IO::Socket::UNIX->new(Local => "$made/.s.PGSQL.$port", Listen => 5)
  or die "could not listen in $made: $!";

my $user = $local->safe_psql('postgres', 'SELECT current_user');
foreach my $dir ($socket, $mounted, $abstract // ())
{
	my $psql = psql($local);
	my $dburi = "host=$dir port=$port dbname=postgres user=$user";
	my $backend = "SELECT sessmgr.scalar('$dburi', 'SELECT pg_backend_pid()')";
	my $pid = $psql->value($backend);

	$psql->start("SELECT sessmgr.execute('$dburi', 'SELECT pg_sleep(600)')");
	ok(wait_for(sub { remote_running($remote, 'pg_sleep') }), "$dir: it runs there");
	$local->safe_psql('postgres', "SELECT pg_cancel_backend($psql->{pid})");
	$psql->fails(undef, '57014', "$dir: is canceled");
	gone_soon($remote, 'pg_sleep', "$dir: there, too");
	$psql->is($backend, $pid, "$dir: with the connection left as it was");
	$psql->quit;
}
is(scalar(IO::Select->new($other)->can_read(0)), undef, 'nobody else was asked to cancel anything');

$local->stop;
$remote->stop;
done_testing();
