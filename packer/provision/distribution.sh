# shellcheck shell=bash
# Sourced by the steps. The distribution's own part (apt.sh, dnf.sh) gives:
#   refresh                    package lists, once the instance's own first boot is over
#   install_packages           what jobs and boot need, Docker with buildx and compose among it
#   agent_packages             from where, by name of the channel; agent_program CHANNEL FOLDER fetches its program
#   forget_packages            what only the build needed
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

fail() { echo "provision: $*" >&2; exit 1; }

# Package managers talk much, and only a failure is worth reading.
quietly() {
  local said
  said=$("$@" < /dev/null 2>&1) || { tail -n 20 <<< "$said" >&2; fail "$1 failed"; }
}

# A key that signs packages, held against its fingerprint: key URL FINGERPRINT FILE
fetch_key() {
  local found
  curl -fsSL --retry 3 --max-time 60 "$1" -o "$3" || fail "cannot fetch the signing key $1"
  found=$(gpg --show-keys --with-colons "$3" 2> /dev/null | awk -F: '$1 == "fpr" {print $10; exit}')
  [ "$found" = "$2" ] || fail "$1 holds the key '$found' and not $2: nothing is installed from there"
}

# shellcheck disable=SC1091
. /etc/os-release
case ${ID:-} in
  debian) part=apt ;;
  amzn) part=dnf ;;
  *) fail "${PRETTY_NAME:-this system} is neither Debian nor Amazon Linux" ;;
esac
# shellcheck disable=SC1090
. "$here/$part.sh"
