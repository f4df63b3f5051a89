# Unpacking packages of another Debian suite, without installing them; sourced,
# not run, by dev/pg-prefix, dev/pgbouncer-prefix and, for a source package, by
# dev/asan, after common.sh.
#
# The machine's own packages are not touched: programs, the libraries that they
# need and, if they were built for a newer one, the C library too are unpacked
# into $dest, and the programs are told to look there.

# Where it goes for those who name no place.
if [ "$(id -u)" -eq 0 ]; then
	prefix_cache=/var/cache/sessmgr	# the tests run as another user, who must get there
else
	prefix_cache=${XDG_CACHE_HOME:-$HOME/.cache}/sessmgr
fi

# prefix_begin RESULT [WHAT]: one process at a time makes $dest; if it has been
# made before, prints RESULT and exits.  WHAT is what dev/install-deps is asked for.
prefix_begin() {
	mkdir -p "${dest%/*}"
	exec 9>"$dest.lock"
	flock 9
	if [ -e "$dest/complete" ]; then
		say "$1"
		exit
	fi
	"$top/dev/install-deps" "${2:-prefix}" >&2

	mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' |
		grep -m 1 -E '/debian/?$' || true)}
	[ -n "$mirror" ] || die 'apt has no Debian mirror here; name one in DEBIAN_MIRROR'
	keyring=/usr/share/keyrings/debian-archive-keyring.gpg
	[ -e "$keyring" ] || die "there is no $keyring (package debian-archive-keyring)"
	make_work
	rm -rf "$dest"
	mkdir -p "$dest"
}

# own_apt TYPE: an apt of its own, whose one source is $suite, of the TYPE deb or
# deb-src, takes the place of the machine's: no package is installed yet in its eyes.
own_apt() {
	local apt=$work/apt
	mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/empty"
	: >"$apt/status"
	echo "$1 [signed-by=$keyring check-valid-until=no] $mirror $suite main" >"$apt/sources.list"
	cat >"$apt/conf" <<-CONF
		Dir::Etc::SourceList "$apt/sources.list";
		Dir::Etc::SourceParts "$apt/empty";
		Dir::Etc::Preferences "/dev/null";
		Dir::Etc::PreferencesParts "$apt/empty";
		Dir::State::Lists "$apt/lists";
		Dir::State::status "$apt/status";
		Dir::Cache "$apt/cache";
		APT::Install-Recommends "false";
		APT::Sandbox::User "root";
		Acquire::Languages "none";
		Acquire::Retries "3";
		Debug::NoLocking "true";
	CONF
	export APT_CONFIG=$apt/conf
	apt-get -qq update
}

# download PACKAGE...: these and all that they need into the current directory;
# $extra are fetched without what they need.
download() {
	own_apt deb
	apt-get -qq -y --download-only install "$@" >/dev/null
	cd "$work/apt/cache/archives"
	[ -z "${extra:-}" ] || apt-get -qq download "$extra" >/dev/null
	unset APT_CONFIG
}

# download_source PACKAGE: its upstream tarball and what Debian adds to it, into $work
download_source() {
	own_apt deb-src
	cd "$work"
	apt-get -qq --download-only source "$1" >/dev/null
	unset APT_CONFIG
}

# unpack PROGRAM: unpacks what was downloaded, but for what only just-in-time
# compilation, translations, PL/Perl and manuals need; PROGRAM says which
# loader is wanted.
unpack() {
	local deb
	for deb in *.deb; do
		case $deb in
			libllvm* | libz3* | perl* | libperl* | locales* | libc-l10n* | libssl-dev* | libc6_*) continue ;;
		esac
		extract "$deb"
	done
	loader=$(program_loader "$1")
	if dpkg --compare-versions "$(dpkg-deb -f libc6_*.deb Version)" gt "$(dpkg-query -Wf '${Version}\n' libc6 | head -n 1)"; then
		extract libc6_*.deb
		loader=$(find "$dest" -name "${loader##*/}" -type f | head -n 1)
		[ -n "$loader" ] || die "no loader in the package libc6 of $suite"
	fi
}

extract() {
	dpkg-deb --fsys-tarfile "$1" | tar -x -C "$dest" --no-same-owner --exclude='./usr/share/doc' \
		--exclude='./usr/share/man' --exclude='./usr/share/locale' --exclude='*/bitcode' --exclude='*/llvmjit*'
}

# program_loader FILE: the loader that an executable asks for; fails for other files
program_loader() {
	readelf -lW "$1" 2>/dev/null | sed -n 's/.*interpreter: \(.*\)].*/\1/p' | grep .
}

# relocate FILE_OR_DIRECTORY...: makes the programs there load their libraries,
# and those the libraries', from $dest.
relocate() {
	local arch program
	arch=$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || cc -print-multiarch)
	while read -r program; do
		program_loader "$program" >/dev/null || continue
		patchelf --set-interpreter "$loader" --force-rpath \
			--set-rpath "$dest/usr/lib/$arch:$dest/lib/$arch" "$program"
	done < <(find "$@" -type f -perm /111)
}

# prefix_end RESULT: it is complete
prefix_end() {
	touch "$dest/complete"
	say "$1"
}
