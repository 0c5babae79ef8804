#!/usr/bin/env bash
# The open-source agent's channels as /usr/bin/buildkite-agent-stable, -beta and -edge; buildkite-agent is the stable
# one. Where Buildkite's repository cannot be reached, the image has build-agent alone.
set -euo pipefail
# shellcheck disable=SC1091
. "$(dirname "$0")/distribution.sh"

if ! said=$(curl -sS --max-time 20 -o /dev/null "$(agents_from)/" 2>&1); then
  echo "provision: buildkite-agent is left out: $(agents_from) cannot be reached (${said//$'\n'/ })"
  exit 0
fi
for channel in stable:stable beta:unstable edge:experimental; do
  folder=$(mktemp -d)
  agent_program "${channel#*:}" "$folder"
  install -m 755 "$folder/usr/bin/buildkite-agent" "/usr/bin/buildkite-agent-${channel%%:*}"
  rm -rf "$folder"
  echo "provision: ${channel%%:*} is $("/usr/bin/buildkite-agent-${channel%%:*}" --version)"
done
ln -sf buildkite-agent-stable /usr/bin/buildkite-agent
