# dev/check-layers finds nothing in this tree, and each kind of fault in one that
# has it.

use strict;
use warnings;

use File::Copy qw(copy);
use File::Path qw(make_path);
use File::Temp qw(tempdir);
use FindBin;
use Test::More;

my $top = "$FindBin::RealBin/..";

sub check
{
	my ($tree) = @_;
	my $out = `$^X $top/dev/check-layers $tree 2>&1`;

	return ($? >> 8, $out);
}

# what is added to which file, and the rule that it breaks
my @faults = (
	[ 'includes', 'src/target/target.c', '#include "engine/engine.h"' ],
	[ 'includes', 'src/remote/remote.h', '#include "statement/statement.h"' ],
	[ 'includes', 'sessmgr.h', '#include "core/core.h"' ],
	[ 'private', 'src/session/session.c', '#include "remote/remote_private.h"' ],
	[ 'private', 'src/engine/pool.c', '#include "remote/connection.h"' ],
	[ 'private', 'sessmgr.c', '#include "engine/engine_private.h"' ],
	[ 'libpq', 'src/session/xact.c', "static int\nsocket_of(void *pg)\n{\n\treturn PQsocket(pg);\n}" ],
	[ 'libpq', 'src/value/value.h', "struct SmX\n{\n\tPGresult *res;\n};" ],
	[ 'extern', 'src/engine/engine.h', 'extern void sm_engine_nobody(void);' ],
	[ 'extern', 'src/engine/engine.h', 'extern void engine_init(void);' ],
	[ 'extern', 'src/engine/engine.c', "void\nsm_engine_hidden(void)\n{\n}" ],
	[ 'static', 'src/value/types.c', "static void\nstart_cleanup(SmConn *conn)\n{\n}" ],
	[ 'versions', 'src/model/models.c', "#if PG_VERSION_NUM >= 160000\n#endif" ],
	[ 'versions', 'sessmgr.h', "#ifdef LIBPQ_HAS_PIPELINING\n#endif" ],
	[ 'lines', 'src/model/model.h', "\n" x 400 ],
	[ 'lines', 'sessmgr.h', "\n" x 300 ],
	[ 'folders', 'src/loose.c', '' ],
	[ 'folders', 'src/attic/old.c', '' ]);

# what only looks like a fault
my @allowed = (
	[ 'src/target/target.c', "/*\n * PQexec() of engine/engine.h, PG_VERSION_NUM\n */" ],
	[ 'src/target/target.c', 'static const char *const word = "PQexec PG_VERSION_NUM";' ]);

sub tree_with
{
	my ($file, $text) = @_;
	my $tree = tempdir(CLEANUP => 1);

	make_path(map { "$tree/$_" } map { s{^\Q$top\E/}{}r } grep { -d } glob("$top/src/*"));
	for my $from ("$top/sessmgr.h", "$top/sessmgr.c", glob("$top/src/*/*.[ch]"))
	{
		copy($from, "$tree/" . $from =~ s{^\Q$top\E/}{}r) or die "$from: $!";
	}
	make_path("$tree/$1") if $file =~ m{(.*)/};
	open(my $out, '>>', "$tree/$file") or die "$file: $!";
	print $out "\n$text\n";
	close $out;
	return $tree;
}

my ($status, $out) = check($top);
is($status, 0, 'this tree is in order') or diag($out);

for (@faults)
{
	my ($rule, $file, $text) = @$_;

	($status, $out) = check(tree_with($file, $text));
	my @places = grep { !/^\d+ places$/ } split /\n/, $out;
	is($status, 1, "$rule in $file is a fault");
	is(scalar(grep { !/^\S+?:\d+: $rule: / } @places), 0, 'and no other') or diag($out);
}
for (@allowed)
{
	my ($file, $text) = @$_;

	($status, $out) = check(tree_with($file, $text));
	is($status, 0, "what is no fault in $file") or diag($out);
}

done_testing();
