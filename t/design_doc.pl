# The files, functions and fields that doc/design.md and CONTRIBUTING.md speak of
# exist, and doc/design.md leaves out no file of src/.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

my @sources = ('sessmgr.c', 'sessmgr.h', glob('src/*/*.[ch]'));
my $code = join("\n", (map { slurp_file($_) =~ s{/\*.*?\*/}{}gsr } @sources), slurp_file('t/lib/SessmgrTest.pm'));
my %file = map { $_ => 1 } @sources;
my %base = map { m{([^/]+)$} ? ($1 => 1) : () } @sources;

# The code in a page: what stands between backquotes, but not in a block.
sub spoken_of
{
	my ($page) = @_;
	my $text = slurp_file($page) =~ s/^```.*?^```//gmsr;

	return $text =~ /`([^`\n]+)`/g;
}

# What it is that has no such thing in the tree; undef if there is one.
sub missing
{
	my ($name) = @_;

	# of PostgreSQL's, and what stands for any name
	return if $name =~ /^(?:pg_config|deadlock_timeout)$|NAME/;
	# a command may have arguments
	return 'file' if $name =~ m{^((?:src|t|sql|specs|dev|doc|bench|fuzz|expected|\.ci)/[\w./-]*\w)(?: .*)?$} && !-e $1;
	return 'file' if $name =~ m{^\w+\.[ch]$} && !$base{$name};
	return 'file' if $name =~ m{^(\w+)/(\w+\.h)$} && !$file{"src/$name"};
	return 'function' if $name =~ /^(sm_\w+)(?:\(\))?$/ && $code !~ /\b\Q$1\E\b/;
	return 'function' if $name =~ /^(\w+)\(\)$/ && $code !~ /\bsub \Q$1\E\b|\b\Q$1\E\(/;
	return 'function' if $name =~ /^[a-z]+_[a-z_]+$/ && $code !~ /\b\Q$name\E\b/;
	return 'constant' if $name =~ /^SM_\w+$/ && $code !~ /\b\Q$name\E\b/;
	return 'type' if $name =~ /^(Sm\w+)/ && $code !~ /\b\Q$1\E\b/;
	return 'field' if $name =~ /^(?:conn|session|engine|driver)->([\w.]+)$/ && $code !~ /(?:->|\.)\Q$1\E\b/;
	return 'field' if $name =~ /^Sm\w+\.(\w+)$/ && $code !~ /[\s*.>]\Q$1\E\b/;
	return;
}

# The functions of which a page says in which file they are ("`f`, `g` in
# `src/...`"), and that file does not define.
sub misplaced
{
	my ($text) = @_;
	my @wrong;

	while ($text =~ m{((?:`\w+`(?:, | and )?)+) (?:in |\()`(src/\w+/\w+\.c)`}g)
	{
		my ($names, $file) = ($1, $2);
		my $source = -e $file ? slurp_file($file) : '';
		push @wrong, map { "$_ in $file" } grep { $source !~ /^\Q$_\E\(/m } $names =~ /`(\w+)`/g;
	}
	return @wrong;
}

for my $page ('doc/design.md', 'CONTRIBUTING.md')
{
	is(join("\n", misplaced(slurp_file($page))), '', "$page says where functions are");

	my %seen;
	my @wrong = grep { !$seen{$_}++ && missing($_) } spoken_of($page);
	is(join("\n", map { missing($_) . " $_" } @wrong), '', "$page speaks of what there is");
	cmp_ok(scalar(keys %seen), '>', 20, "$page speaks of something");
}

my %told = map { $_ => 1 } spoken_of('doc/design.md');
for my $source (grep { m{^src/.*\.c$} } @sources)
{
	my ($name) = $source =~ m{([^/]+)$};
	ok($told{$name}, "$source is in doc/design.md");
}

# each kind of mistake is found
is(missing($_->[1]), $_->[0], "$_->[1] is missing")
  for [ 'file', 'src/remote/nowhere.c' ], [ 'file', 'nowhere.c' ], [ 'file', 'remote/nowhere.h' ],
  [ 'function', 'sm_nowhere' ], [ 'function', 'nowhere()' ], [ 'function', 'nowhere_at_all' ],
  [ 'constant', 'SM_NOWHERE' ], [ 'type', 'SmNowhere' ], [ 'field', 'conn->nowhere' ],
  [ 'field', 'SmStatement.nowhere' ];
is(join(' ', misplaced('`take_idle` and `nowhere` in `src/engine/pool.c`')),
	'nowhere in src/engine/pool.c', 'a function that is not in its file is found');

done_testing();
