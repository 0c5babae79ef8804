#!/usr/bin/env bash
# Each instance of the image finds its own identity: nothing that tells one machine from another stays.
set -euo pipefail
# shellcheck disable=SC1091
. "$(dirname "$0")/distribution.sh"

forget_packages
if command -v cloud-init > /dev/null; then cloud-init clean --logs; fi
truncate -s 0 /etc/machine-id
rm -f /var/lib/dbus/machine-id /var/lib/systemd/random-seed /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub
