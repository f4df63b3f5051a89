# Replays the transcripts in README.md and doc/*.md and compares what they show
# with what comes out.
#
# A transcript is a fenced block of the kind "psql": lines that begin with one
# of psql's prompts ("=# ", "-# ", "$# ", "(# ", also with a database's name or
# with "*" before the "#") are input, the lines after them the output.  All
# transcripts of a page run in one psql session, as the superuser postgres, in
# the database that t/doc_fixture.sql makes anew for each page.  In the output
# "..." stands for anything within a line, and alone on a line for any lines.
#
# With SESSMGR_DOCS only the pages named there are replayed; with
# SESSMGR_DOCS_UPDATE the pages are rewritten with what came out (dev/check-docs
# does both).

use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $prompt = qr/^\w*[-=\$('"*][*!]?#(?: |$)/;
my $marker = '-- end of the output of input';

# The page as a list of hashes: { text => line } or, for an input and its
# output, { line, input => [...], output => [...] }.
sub read_page
{
	my ($page) = @_;
	my (@parts, $entry);
	my $fenced = 0;

	open(my $file, '<', $page) or die "$page: $!";
	while (my $line = <$file>)
	{
		chomp $line;
		if ($fenced && $line =~ /^```\s*$/)
		{
			($fenced, $entry) = (0, undef);
		}
		elsif ($fenced)
		{
			if ($line =~ $prompt)
			{
				push @parts, $entry = { line => $., input => [], output => [] }
				  if !$entry || $line =~ /^\w*=/ || @{ $entry->{output} };
				push @{ $entry->{input} }, $line;
			}
			elsif ($entry)
			{
				push @{ $entry->{output} }, $line;
			}
			else
			{
				die "$page:$.: a transcript must begin with an input";
			}
			next;
		}
		elsif ($line =~ /^```psql\s*$/)
		{
			$fenced = 1;
		}
		push @parts, { text => $line };
	}
	die "$page: a transcript has no end" if $fenced;
	return @parts;
}

# Runs the inputs in one psql and sets the entries' "got".
sub replay
{
	my ($node, @entries) = @_;
	my ($script, $got) = ('', '');

	for my $i (0 .. $#entries)
	{
		$script .= join('', map { s/$prompt//r . "\n" } @{ $entries[$i]{input} });
		$script .= "\\echo $marker $i\n";
	}
	IPC::Run::run(
		[
			'psql', '-X', '-d', $node->connstr('app') . " user=postgres"
		],
		'<', \$script, '>&', \$got);

	for my $i (0 .. $#entries)
	{
		$got =~ s/\A(.*?)^\Q$marker\E $i\n//ms
		  or $got =~ s/\A(.*)\z/(psql ended)/s;
		$entries[$i]{got} = [ trim(split(/\n/, $1)) ];
	}
}

# Lines without trailing blanks, and without empty ones at both ends
sub trim
{
	my @lines = map { s/\s+$//r } @_;
	shift @lines while @lines && $lines[0] eq '';
	pop @lines while @lines && $lines[-1] eq '';
	return @lines;
}

# Does what came out match, with "..." as a wildcard?
sub matches
{
	my ($entry) = @_;
	my $pattern = '';
	for my $line (trim(@{ $entry->{output} }))
	{
		$pattern .=
		  $line eq '...'
		  ? '(?:.*\n)*?'
		  : join('.*?', map { quotemeta } split(/\.\.\./, $line, -1)) . '\n';
	}
	return join('', map { "$_\n" } @{ $entry->{got} }) =~ /\A$pattern\z/;
}

sub write_page
{
	my ($page, @parts) = @_;
	open(my $file, '>', $page) or die "$page: $!";
	push @parts, {};
	for my $i (0 .. $#parts - 1)
	{
		my $part = $parts[$i];
		if (exists $part->{text})
		{
			print $file "$part->{text}\n";
			next;
		}
		my @output = @{ $part->{output} };
		if (!matches($part))
		{
			@output = @{ $part->{got} };
			# as in psql, a table is followed by an empty line
			push @output, ''
			  if @output && $output[-1] =~ /^\(\d+ rows?\)$/ && exists $parts[ $i + 1 ]{input};
		}
		print $file map { "$_\n" } @{ $part->{input} }, @output;
	}
	close($file) or die "$page: $!";
}

my @pages =
  $ENV{SESSMGR_DOCS}
  ? split(' ', $ENV{SESSMGR_DOCS})
  : grep { -e } ('README.md', glob('doc/*.md'));
my %parts = map { $_ => [ read_page($_) ] } @pages;
@pages = grep { grep { $_->{input} } @{ $parts{$_} } } @pages;
plan(skip_all => 'no page has a transcript') unless @pages;

my $node = PostgreSQL::Test::Cluster->new('docs');
$node->init;
$node->append_conf('postgresql.conf', "timezone = 'UTC'\nfsync = off\nmax_prepared_transactions = 5\n");
# ordinary roles need a password, for the targets' sake
unlink($node->data_dir . '/pg_hba.conf');
$node->append_conf('pg_hba.conf',
	"local all app,reporter,guest scram-sha-256\nlocal all all trust\n");
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE postgres SUPERUSER LOGIN');

for my $page (@pages)
{
	my @entries = grep { $_->{input} } @{ $parts{$page} };
	my $problems = 0;

	$node->command_ok(
		[
			'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-U', 'postgres',
			'-d', 'postgres', '-f', 't/doc_fixture.sql'
		],
		"$page: fixture");
	replay($node, @entries);
	if ($ENV{SESSMGR_DOCS_UPDATE})
	{
		write_page($page, @{ $parts{$page} });
		next;
	}
	for my $entry (grep { !matches($_) } @entries)
	{
		$problems++;
		diag(
			"$page:$entry->{line}: ",
			join("\n", @{ $entry->{input} }, 'expected:', trim(@{ $entry->{output} }), 'got:', @{ $entry->{got} }),
			"\n");
	}
	is($problems, 0, "$page: all of " . @entries . " statements show what the page says");
}

$node->stop;
done_testing();
