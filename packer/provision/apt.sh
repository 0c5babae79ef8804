# shellcheck shell=bash
# Debian 13. All packages are signed by Debian, the agents by Buildkite.
export DEBIAN_FRONTEND=noninteractive

refresh() {
  if command -v cloud-init > /dev/null; then cloud-init status --wait > /dev/null || true; fi
  # Nothing is started while the image is made: what a service leaves behind would be in every instance.
  printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
  chmod +x /usr/sbin/policy-rc.d
  quietly apt-get update -qq
}

install_packages() {
  quietly apt-get install -qq -y --no-install-recommends \
    awscli bash ca-certificates curl e2fsprogs git git-lfs gnupg jq mdadm openssh-client sudo unzip xfsprogs zip \
    docker-buildx docker-cli docker-compose docker.io iptables
  # They hold dpkg's lock in the middle of jobs. Updates come with a new image.
  systemctl disable --quiet apt-daily.timer apt-daily-upgrade.timer
  echo "provision: the SSM agent is left out: Debian has no package of it"
}

agents_from() { echo "https://apt.buildkite.com/buildkite-agent"; }

agent_program() {
  local channel=$1 folder=$2 key=/usr/share/keyrings/buildkite-agent.asc list=/etc/apt/sources.list.d/buildkite-agent.list
  [ -e $key ] || fetch_key https://keys.openpgp.org/vks/v1/by-fingerprint/32A37959C2FA5C3C99EFBC32A79206696452D198 \
    32A37959C2FA5C3C99EFBC32A79206696452D198 $key
  echo "deb [signed-by=$key] $(agents_from) $channel main" > $list
  quietly apt-get update -qq -o Dir::Etc::sourcelist=$list -o Dir::Etc::sourceparts=- -o APT::Get::List-Cleanup=0
  (cd "$folder" && quietly apt-get download -qq -t "$channel" buildkite-agent && dpkg-deb -x buildkite-agent_*.deb .)
  rm -f $list
}

forget_packages() {
  rm -f /usr/sbin/policy-rc.d
  apt-get clean
  rm -rf /var/lib/apt/lists/*
}
