# What the scripts of this folder share. They source it, make their arguments absolute, and go to $root.
set -euo pipefail
root=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")

step() { printf '\n== %s\n' "$*"; }
fail() { # fail ERROR HINT
  printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
  exit 1
}

name=pigello-gateway
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | head -n 1)
# The same source makes the same bytes: one time, one language, one set of modes, whoever builds.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC
umask 022

fact() { # fact PROGRAM NAME: what the program says of its build
  "$1" --version | sed -n "s/^$2: //p"
}

debian_architecture() { # debian_architecture TARGET: also what an image calls it
  case $1 in
    x86_64-*) echo amd64 ;;
    aarch64-*) echo arm64 ;;
    *) fail "there is no name for the architecture of $1" "add it to release/common.sh" ;;
  esac
}

pages() { # pages PROGRAM FOLDER: the manual pages and the completions, in man and completions
  mkdir -p "$2/man" "$2/completions"
  "$1" man --directory "$2/man" >/dev/null
  for shell in bash fish zsh; do
    "$1" completions "$shell" >"$2/completions/$name.$shell"
  done
}

archive() { # archive FOLDER NAME FILE: NAME in FOLDER as a .tar.gz that depends on its contents alone
  tar --create --directory "$1" --sort=name --format=gnu --owner=0 --group=0 --numeric-owner \
    --mode=u=rwX,go=rX --mtime="@$SOURCE_DATE_EPOCH" "$2" | gzip --no-name --best >"$3"
}
