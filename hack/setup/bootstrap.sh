#!/usr/bin/env bash
# Makes a fresh machine ready for every other target: checks what must be there, installs the system
# packages and the npm packages (Node 24 among them). Quick when there is nothing to do.
set -euo pipefail
cd "$(dirname "$0")/../.."

problems=()
problem() { problems+=("$1"); }

[ "$(uname -s)" = Linux ] || problem "this needs Linux, and this is $(uname -s): use a Linux machine or a virtual machine"
[ "$(id -u)" = 0 ] || problem "root is needed, for network namespaces and packages: run it as root (sudo make …)"
command -v npm >/dev/null || problem "npm is missing: install Node.js 20 or newer, npm comes with it"
command -v go >/dev/null || problem "go is missing: install Go 1.26 or newer (the cluster's programs are built from source)"
command -v cargo >/dev/null || problem "cargo is missing: install Rust 1.95 or newer with rustup (the node proxy is written in Rust)"
command -v apt-get >/dev/null || problem "apt-get is missing: this needs a Debian-like Linux"
at_least() { # at_least HAVE WANT
  [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n1)" = "$2" ]
}
if command -v go >/dev/null; then
  have=$(go env GOVERSION | sed 's/^go//')
  at_least "$have" 1.26 || problem "go is $have, and 1.26 or newer is needed: install a newer Go"
fi
if command -v cargo >/dev/null; then
  have=$(cargo --version | cut -d' ' -f2)
  at_least "$have" 1.95 || problem "cargo is $have, and 1.95 or newer is needed: rustup update"
fi
if [ ${#problems[@]} -gt 0 ]; then
  echo "This machine is not ready:" >&2
  printf '  - %s\n' "${problems[@]}" >&2
  exit 1
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
step() { # step TITLE COMMAND...
  local title=$1 begun=$SECONDS
  shift
  echo "    $title …"
  if ! "$@" >"$log" 2>&1; then
    tail -n 30 "$log" >&2
    echo "✗   $title ($((SECONDS - begun)) s)" >&2
    exit 1
  fi
  echo "✓   $title ($((SECONDS - begun)) s)"
}

packages=(buildah containerd containernetworking-plugins conntrack g++ iproute2 make mmdebstrap nftables openssl
  procps runc shellcheck tcpdump util-linux)
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed' || missing+=("$package")
done
install_packages() {
  apt-get update &&
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
}
[ ${#missing[@]} = 0 ] || step "System packages: ${missing[*]}" install_packages

wanted=$(cat package.json package-lock.json | sha256sum | cut -d' ' -f1)
if [ "$(cat node_modules/.installed 2>/dev/null)" != "$wanted" ]; then
  # Not `npm ci`: it wants an entry for every platform's optional package in the lock file, and a
  # registry that mirrors only some of them cannot make one. Versions and digests are the lock's.
  step "npm packages, Node 24 among them" npm install --no-save --loglevel=error
  echo "$wanted" >node_modules/.installed
fi
