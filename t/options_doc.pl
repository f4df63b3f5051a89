# The table in doc/options.md is the one that dev/options-doc prints, which is
# what sessmgr.options() says.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('options');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION sessmgr');

my ($table, $errors) =
  run_command([ 'dev/options-doc', '-h', $node->host, '-p', $node->port, '-d', 'postgres' ]);
is($errors, '', 'dev/options-doc runs');

my ($documented) = slurp_file('doc/options.md') =~
  /^<!-- options: begin.*?-->\n(.*?)\n<!-- options: end -->$/ms;
is($documented, $table, 'doc/options.md has its output');

# every option has a setting that exists, or none
is( $node->safe_psql(
		'postgres',
		"LOAD 'sessmgr'; SELECT string_agg(o.setting, ' ') FROM sessmgr.options() AS o"
		  . " LEFT JOIN pg_catalog.pg_settings AS s ON s.name = o.setting"
		  . " WHERE o.setting IS NOT NULL AND s.name IS NULL"),
	'',
	'every setting named there exists');

$node->stop;
done_testing();
