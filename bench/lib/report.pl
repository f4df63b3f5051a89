#!/usr/bin/perl
#
# report.pl RESULTS goals | works | plots
#
# Prints what bench/run has written down in the directory RESULTS (see
# bench/lib/measure.sh): a table of the goals, a table for each work, both in
# Markdown, or a script for gnuplot, to be run where NAME.svg shall be.

use strict;
use warnings;
use utf8;
use open qw(:std :encoding(UTF-8));

my ($results, $what) = @ARGV;
die "usage: report.pl RESULTS goals | works | plots\n" unless @ARGV == 2;

sub read_table
{
	my ($name) = @_;

	open(my $file, '<', "$results/$name") or return ();
	return map { chomp; [ split /\t/, $_, -1 ] } <$file>;
}

# {work}{label}{x}: the values of all rounds; {work}: labels as they came
my (%values, %labels, %absent);
foreach (read_table('values'))
{
	my ($work, $label, $x, $value) = @$_;
	push @{ $labels{$work} }, $label unless $values{$work}{$label};
	push @{ $values{$work}{$label}{$x} }, $value;
}
$absent{ $_->[0] }{ $_->[1] } = $_->[2] foreach read_table('absent');

sub sorted { return sort { $a <=> $b } @{ $_[0] }; }

sub median
{
	my @values = sorted($_[0]);
	my $middle = int(@values / 2);

	return @values % 2 ? $values[$middle] : ($values[ $middle - 1 ] + $values[$middle]) / 2;
}

# three figures, never in scientific notation
sub figure
{
	my ($number) = @_;
	my $size = abs $number;

	return sprintf('%.0f', $number) if $size >= 100 || $size == 0;
	return sprintf('%.1f', $number) if $size >= 10;
	return sprintf('%.2f', $number) if $size >= 1;
	return sprintf('%.3f', $number) if $size >= 0.1;
	return sprintf('%.4f', $number);
}

sub medians
{
	my ($work) = @_;

	return map { $_ => median($values{$work}{$_}{''}) } @{ $labels{$work} // [] };
}

# The limit of a work is its first label, unless that is sessmgr itself.
sub limit_of
{
	my ($work) = @_;
	my $first = $labels{$work} ? $labels{$work}[0] : 'sessmgr';

	return $first =~ /^sessmgr/ ? undef : $first;
}

sub nearest_peer
{
	my ($work, $unit, %median) = @_;
	my $limit = limit_of($work) // '';
	my ($best) = sort { $median{$a} <=> $median{$b} }
	  grep { $_ ne $limit && !/^sessmgr/ } keys %median;

	return '–' unless defined $best;
	return "$best: " . figure($median{$best} / $median{$limit}) . ' ×' if $limit;
	return "$best: " . figure($median{$best}) . " $unit";
}

sub print_goals
{
	my %work = map { $_->[0] => $_ } read_table('works');

	print "| work | what | measured | goal | met | nearest peer |\n",
	  "| --- | --- | ---: | ---: | --- | --- |\n";
	foreach (read_table('goals'))
	{
		my ($name, $kind, $maximum, $label) = @$_;
		my (undef, $unit, $title) = @{ $work{$name} };
		my %median = medians($name);
		my $limit = limit_of($name);
		my ($measured, $met) = ('failed', '**no**');

		next unless %median || $absent{$name};
		$measured = $absent{$name}{$label} if $absent{$name} && $absent{$name}{$label};
		if (defined $median{$label})
		{
			my $reached = $median{$label};
			$reached /= $median{$limit} if $kind eq 'ratio';
			$reached -= $median{$limit} if $kind eq 'over';
			$measured = figure($reached);
			$met = $reached <= $maximum ? 'yes' : '**no**';
		}
		my $peer = nearest_peer($name, $unit, %median);
		$unit = '× the limit' if $kind eq 'ratio';
		$unit = "$unit more" if $kind eq 'over';
		print '| ', join(' | ', $title, "`$label`", $measured, "≤ $maximum $unit", $met, $peer), " |\n";
	}
}

sub print_works
{
	foreach (read_table('works'))
	{
		my ($name, $unit, $title, $explanation) = @$_;
		my %median = medians($name);
		my $limit = limit_of($name);

		next unless %median || $absent{$name};
		print "### $title\n\n$explanation\n\n";
		printf "| | %s | least | most |%s\n", $unit, $limit ? ' of the limit |' : '';
		print '| --- | ---: | ---: | ---: |', $limit ? ' ---: |' : '', "\n";
		foreach my $label (@{ $labels{$name} // [] })
		{
			my @sorted = sorted($values{$name}{$label}{''});
			print '| ', join(' | ', $label, map { figure($_) } $median{$label}, @sorted[ 0, -1 ]), ' |';
			print ' ', figure($median{$label} / $median{$limit}), ' × |' if $limit;
			print "\n";
		}
		print "| $_ | $absent{$name}{$_} | | |", $limit ? ' |' : '', "\n"
		  foreach sort keys %{ $absent{$name} // {} };
		print "\n";
	}
}

# One color for each peer in all plots.
sub color
{
	return '#000000' if $_[0] =~ /^(C,|pgbench|a function)/;
	return '#56b4e9' if $_[0] =~ /^sessmgr\.(stream|query_all)/;
	return '#0072b2' if $_[0] =~ /^sessmgr/;
	return '#d55e00' if $_[0] =~ /^dblink/;
	return '#009e73' if $_[0] =~ /^postgres_fdw/;
	return '#cc79a7';
}

# 10000000: 10M
sub short
{
	my ($number) = @_;

	return $number / 1000000 . 'M' if $number >= 1000000;
	return $number / 1000 . 'k' if $number >= 1000;
	return $number;
}

sub quoted { my $text = $_[0]; $text =~ s/'/''/g; return "'$text'"; }

sub print_plots
{
	print "set encoding utf8\n",
	  "set terminal svg size 900,450 dynamic enhanced font 'sans-serif,13' background '#ffffff'\n",
	  "set grid linecolor '#dddddd'\nset key outside right center vertical Left reverse noenhanced\n";
	foreach (read_table('plots'))
	{
		my ($name, $axes, $x_axis, $y_axis, $title) = @$_;
		my @labels = @{ $labels{$name} // [] };
		my @curves;

		next unless @labels;
		foreach my $label (@labels)
		{
			my $block = '$' . $name . scalar @curves;
			my $points = $values{$name}{$label};

			print "$block << END\n";
			print "$_ ", median($points->{$_}), "\n" foreach sort { $a <=> $b } keys %$points;
			print "END\n";
			push @curves, "$block with linespoints linewidth 2 pointtype 7 pointsize 0.5 linecolor rgb '"
			  . color($label) . "' title " . quoted($label);
		}
		my %at = map { %{ $values{$name}{$_} } } @labels;
		print "unset logscale\nset logscale $axes\nset yrange [", $axes =~ /y/ ? '*' : '0', ":*]\n",
		  'set xtics (', join(', ', map { "'" . short($_) . "' $_" } sort { $a <=> $b } keys %at), ")\n",
		  'set title ', quoted($title), " noenhanced\nset xlabel ", quoted($x_axis),
		  "\nset ylabel ", quoted($y_axis), "\nset output '$name.svg'\n",
		  'plot ', join(", \\\n\t", @curves), "\nunset output\n";
	}
}

my %print = (goals => \&print_goals, works => \&print_works, plots => \&print_plots);
($print{$what} // die "report.pl: no $what\n")->();
