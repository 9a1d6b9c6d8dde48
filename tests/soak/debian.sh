# debian.sh: a fresh Debian 12 for the scripts beside it. Sourced by bash; the caller is root.
# shellcheck shell=bash
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
soak_dir=$top/build/soak

say() { printf '%s: %s\n' "$(basename "$0" .sh)" "$*" >&2; }
die() { say "$*"; exit 1; }

need_root() { [ "$(id -u)" = 0 ] || die "needs root (chroot, mounts): sudo $0"; }

# The mirror that this machine's apt uses for bookworm.
apt_mirror() {
    # shellcheck disable=SC2016 # apt's own variables
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' | head -n 1
}

# So that apt in the new system reaches what it reaches here: sources, settings, keys, certificates.
copy_apt_setup() { # root
    local root=$1 file
    rm -f "$root"/etc/apt/sources.list
    for file in /etc/apt/sources.list /etc/apt/sources.list.d /etc/apt/apt.conf.d /etc/apt/trusted.gpg.d \
        /etc/apt/keyrings /usr/local/share/ca-certificates /etc/ssl/certs/ca-certificates.crt \
        /etc/resolv.conf /etc/hosts; do
        [ -e "$file" ] || continue
        mkdir -p "$root$(dirname "$file")"
        cp -rL "$file" "$root$(dirname "$file")/"
    done
    rm -f "$root"/etc/apt/sources.list.d/*.disabled*
}

# build/soak/bookworm.tar: Debian 12 as debootstrap leaves it (minbase), at most a day old.
fresh_debian_tar() {
    local tar=$soak_dir/bookworm.tar root mirror
    [ -n "$(find "$tar" -mmin -1440 2>/dev/null)" ] && return 0
    mirror=$(apt_mirror)
    [ -n "$mirror" ] || die "apt knows no mirror for bookworm; run apt-get update"
    mkdir -p "$soak_dir"
    root=$(mktemp -d "$soak_dir/base.XXXXXX")
    say "debootstrap"
    debootstrap --variant=minbase bookworm "$root" "$mirror" >"$soak_dir/debootstrap.log" 2>&1 ||
        { tail -n 20 "$soak_dir/debootstrap.log" >&2; rm -rf --one-file-system "$root"; die "debootstrap failed"; }
    copy_apt_setup "$root"
    rm -rf "$root"/var/cache/apt/archives/*.deb
    tar --one-file-system --numeric-owner -C "$root" -cf "$tar.new" .
    mv "$tar.new" "$tar"
    rm -rf --one-file-system "$root"
}
