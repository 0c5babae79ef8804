#!/usr/bin/env bash
# Tidemark's programs, the agents' user and the units. What an instance is told (queue, token, secrets) comes at boot.
set -euo pipefail
root=${TIDEMARK_ROOT:-}
from=$root/tmp/tidemark
as_root=(sudo)
[ -z "$root" ] || as_root=()

for program in agent-bootstrap build-agent; do
  "${as_root[@]}" install -D -m 755 "$from/$program" "$root/usr/local/bin/$program"
done
"${as_root[@]}" ln -sf agent-bootstrap "$root/usr/local/bin/docker-credential-tidemark"
for unit in "$from"/*.service; do
  "${as_root[@]}" install -D -m 644 "$unit" "$root/etc/systemd/system/$(basename "$unit")"
done
rm -rf "$from"

if [ -z "$root" ]; then
  getent group docker > /dev/null || sudo groupadd --system docker
  id buildkite-agent > /dev/null 2>&1 \
    || sudo useradd --system --create-home --home-dir /var/lib/buildkite-agent --shell /bin/bash --groups docker buildkite-agent
  sudo systemctl daemon-reload
  sudo systemctl enable --quiet docker tidemark-boot.service tidemark-watch.service
  # Each instance of the image finds its own identity.
  sudo cloud-init clean --logs
  sudo truncate -s 0 /etc/machine-id
  sudo rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub
fi
