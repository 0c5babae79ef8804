#!/usr/bin/env bash
# Tidemark's programs, units and files, and the agents' user. What an instance is told (queue, token, secrets) comes at
# boot.
set -euo pipefail
from=$(cd "$(dirname "$0")/.." && pwd)
root=${TIDEMARK_ROOT:-}
units=$root/etc/systemd/system

for program in "$from"/programs/*; do
  install -D -m 755 "$program" "$root/usr/local/bin/$(basename "$program")"
done
ln -sf agent-bootstrap "$root/usr/local/bin/docker-credential-tidemark"
# sudo's PATH has no /usr/local/bin on Amazon Linux, and `sudo docker` finds the helper in the first folder of its own.
mkdir -p "$root/usr/bin"
ln -sf ../local/bin/agent-bootstrap "$root/usr/bin/docker-credential-tidemark"

(cd "$from/rootfs" && find . -type f -print0) | while IFS= read -r -d '' file; do
  mode=644
  [ ! -x "$from/rootfs/$file" ] || mode=755
  [ "${file#./etc/sudoers.d/}" = "$file" ] || mode=440
  install -D -m $mode "$from/rootfs/$file" "$root/${file#./}"
done

# Units are enabled as systemctl does it, which is not there for a folder.
for unit in "$from"/units/*; do
  install -D -m 644 "$unit" "$units/$(basename "$unit")"
  sed -n 's/^WantedBy=//p' "$unit" | while read -r target; do
    mkdir -p "$units/$target.wants"
    ln -sf "../$(basename "$unit")" "$units/$target.wants/$(basename "$unit")"
  done
done

if [ -z "$root" ]; then
  getent group docker > /dev/null || groupadd --system docker
  id buildkite-agent > /dev/null 2>&1 \
    || useradd --system --create-home --home-dir /var/lib/buildkite-agent --shell /bin/bash buildkite-agent
  usermod --append --groups docker buildkite-agent
fi
