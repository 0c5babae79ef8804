# shellcheck shell=bash
# Amazon Linux 2023. Docker comes from its makers, since Amazon's package has no compose.

refresh() {
  if command -v cloud-init > /dev/null; then cloud-init status --wait > /dev/null || true; fi
  quietly dnf -q makecache
}

install_packages() {
  local key=/etc/pki/rpm-gpg/RPM-GPG-KEY-docker
  fetch_key https://download.docker.com/linux/centos/gpg 060A61C51B558A7F742B77AAC52FEB6B621E9F35 $key
  cat > /etc/yum.repos.d/docker-ce.repo << REPO
[docker-ce-stable]
name=Docker CE
baseurl=https://download.docker.com/linux/centos/9/\$basearch/stable
gpgcheck=1
gpgkey=file://$key
REPO
  quietly dnf -q -y install amazon-ssm-agent awscli-2 bash ca-certificates e2fsprogs git git-lfs jq mdadm openssh-clients sudo \
    unzip xfsprogs zip containerd.io docker-buildx-plugin docker-ce docker-ce-cli docker-compose-plugin iptables-nft
  systemctl enable --quiet amazon-ssm-agent docker
}

# Buildkite signs its Debian packages only; these are held by TLS alone.
agents_from() { echo "https://yum.buildkite.com/buildkite-agent"; }

agent_program() {
  local channel=$1 folder=$2
  quietly dnf -q download --repofrompath "buildkite-agent,$(agents_from)/$channel/$(uname -m)/" --repo buildkite-agent \
    --setopt=buildkite-agent.gpgcheck=0 --destdir "$folder" buildkite-agent
  (cd "$folder" && rpm2cpio buildkite-agent*.rpm | cpio -idm --quiet)
}

forget_packages() {
  dnf -q clean all
}
