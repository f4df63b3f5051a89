# doc/errors.md lists every SQLSTATE that the source raises by name, with its
# name, and no other.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

# What ERRCODE_... stands for, as the server's header has it
my ($includedir) = run_command([ 'pg_config', '--includedir-server' ]);
my %sqlstate;
for (split(/\n/, slurp_file("$includedir/utils/errcodes.h")))
{
	my ($name, $characters) = /^#define (ERRCODE_\w+)\s+MAKE_SQLSTATE\(([^)]*)\)/ or next;
	$sqlstate{$name} = join('', $characters =~ /'(.)'/g);
}

# In the table: the SQLSTATE
my %documented = map { /^\| (\w{5}) \| `\w+` \|/ ? ($1 => 1) : () } split(/\n/, slurp_file('doc/errors.md'));

my %raised;
for my $file ('sessmgr.c', glob('src/*/*.c'))
{
	my $source = slurp_file($file);
	# one of them, or one or the other
	while ($source =~ /\berrcode(\((?:[^()]++|(?1))*\))/g)
	{
		my $codes = $1;
		push @{ $raised{$1} }, $file while $codes =~ /(ERRCODE_\w+)/g;
	}
}
# an internal error is also what elog() raises
$raised{ERRCODE_INTERNAL_ERROR} //= [];
# chosen by a variable
$raised{ERRCODE_FDW_INVALID_OPTION_NAME} //= [];

for my $name (sort keys %raised)
{
	my $code = $sqlstate{$name};
	ok($code, "$name is in errcodes.h") or next;
	ok($documented{$code}, "$code ($name) is in doc/errors.md")
	  or diag("raised in @{ $raised{$name} }");
}

my %codes = map { ($sqlstate{$_} // '') => 1 } keys %raised;
ok($codes{$_}, "$_ in doc/errors.md is raised in the source") for sort keys %documented;

done_testing();
