# The files that describe the extension agree with each other: META.json (as the
# PGXN Meta Spec 1.0 wants it), the control file, the Makefile and the changelog.

use strict;
use warnings;

use JSON::PP ();
use PostgreSQL::Test::Utils;
use Test::More;

my $meta = JSON::PP->new->decode(slurp_file('META.json'));
my $control = slurp_file('sessmgr.control');
my $makefile = slurp_file('Makefile');
my $semver = qr/^\d+\.\d+\.\d+(?:-[a-z][a-z0-9-]*)?$/;

for my $key (qw(name version abstract maintainer license provides meta-spec))
{
	ok($meta->{$key}, "META.json has $key");
}
is($meta->{name}, 'sessmgr', 'name');
is($meta->{license}, 'postgresql', 'license');
is($meta->{'meta-spec'}{version}, '1.0.0', 'version of the specification');
like($meta->{release_status}, qr/^(stable|testing|unstable)$/, 'release status');

my $provided = $meta->{provides}{sessmgr};
is($provided->{version}, $meta->{version}, 'the extension has the version of the distribution');
like($meta->{version}, $semver, 'a semantic version');
for my $phase (values %{ $meta->{prereqs} })
{
	for my $requirement (map { %$_ } values %$phase)
	{
		like($requirement, qr/^(?:0|\d+\.\d+\.\d+|\w+)$/, "prerequisite $requirement");
	}
}

my ($version) = $control =~ /^default_version = '(.*)'$/m;
like($meta->{version}, qr/^\Q$version\E\./, 'the control file has that version');
like($makefile, qr/^EXTVERSION = \Q$version\E$/m, 'the Makefile too');
is($provided->{file}, "sessmgr--$version.sql", 'the script is of that version');
ok(-e $provided->{$_}, "$provided->{$_} is there") for qw(file docfile);
like(slurp_file('CHANGELOG.md'), qr/^## \Q$meta->{version}\E\b/m, 'the changelog tells of it');

done_testing();
