# shellcheck shell=bash
# Debian packages of another suite than the machine's own, without touching the machine's apt: lists and archives
# live below $CACHE/apt, the mirror is the one the machine already uses, the signatures are checked against
# Debian's own keyring. Sourced by bash; wants $CACHE (the checkout's .cache).

# debian_mirrors: the addresses the machine's apt reads `main` of a release from, one per line, most likely first.
# apt itself parses its sources here (one-line and deb822); --no-release-info makes it answer without fetched lists.
debian_mirrors() {
  # shellcheck disable=SC2016  # apt expands these, not the shell
  apt-get indextargets --no-release-info --format '$(CREATED_BY) $(COMPONENT) $(RELEASE) $(REPO_URI)' |
    awk '$1 == "Packages" && $2 == "main" && $3 !~ /-/ && !seen[$4]++ { print $4 }'
}

# debian_apt SUITE ARCH COMMAND...: apt-get or apt-cache on that suite and architecture alone.
debian_apt() {
  local suite=$1 arch=$2 program=$3 root
  shift 3
  root=$CACHE/apt/$suite-$arch
  "$program" -q -o "Dir::Etc::sourcelist=$root/sources.list" -o Dir::Etc::sourceparts=/dev/null \
    -o Dir::Etc::preferencesparts=/dev/null -o Dir::Etc::preferences=/dev/null \
    -o "Dir::State::lists=$root/lists" -o "Dir::State::status=$root/status" -o "Dir::Cache=$root" \
    -o "APT::Architecture=$arch" -o "APT::Architectures=$arch" -o APT::Sandbox::User=root "$@"
}

# debian_update SUITE ARCH: fetches the lists of that suite from the first mirror that has it. Builds that run at
# the same time take turns from here to their end.
debian_update() {
  local suite=$1 arch=$2 root=$CACHE/apt/$1-$2 mirror log
  mkdir -p "$root/lists/partial" "$root/archives/partial"
  exec 8>"$CACHE/apt/lock"
  flock 8
  : >"$root/status"
  log=$root/update.log
  : >"$log"
  for mirror in $(debian_mirrors); do
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$root/sources.list"
    if debian_apt "$suite" "$arch" apt-get update -o APT::Update::Error-Mode=any >>"$log" 2>&1; then return; fi
  done
  cat "$log" >&2
  echo "no mirror of this machine's apt has Debian $suite for $arch" >&2
  return 1
}

# debian_fetch SUITE ARCH PACKAGE MINIMUM DIR: downloads the package's newest version of that suite into DIR, which
# must be empty. Refuses one older than MINIMUM.
debian_fetch() {
  local suite=$1 arch=$2 package=$3 minimum=$4 dir=$5 version
  version=$(debian_apt "$suite" "$arch" apt-cache show --no-all-versions "$package" | sed -n 's/^Version: //p')
  if ! dpkg --compare-versions "$version" ge "$minimum"; then
    echo "$package of Debian $suite is ${version:-missing}, $minimum or newer is wanted" >&2
    return 1
  fi
  (cd "$dir" && debian_apt "$suite" "$arch" apt-get download "$package" >/dev/null)
}
