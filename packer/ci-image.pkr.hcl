# The image of the stack. `make build-ami` runs it; docs/image.md tells what is in it and which variables there are.
# Plain HCL2 that Packer 1.6, Debian's, reads as well as current ones: what only those know is in plugins/.

variable "region" {
  type = string
}

variable "os" {
  type        = string
  description = "debian13 or amazonlinux2023."
}

variable "arch" {
  type        = string
  description = "amd64 or arm64."
}

variable "source_ami" {
  type        = string
  description = "The image to start from; scripts/build-ami finds the newest of the distribution."
}

variable "image_name" {
  type = string
}

variable "version" {
  type = string
}

variable "staged" {
  type        = string
  description = "Folder with all that goes into the image: provisioners, programs, units, files."
}

variable "manifest" {
  type        = string
  description = "File that gets the image's id."
}

variable "subnet" {
  type        = string
  default     = ""
  description = "Where to build; empty means the default VPC."
}

variable "ssh_cidr" {
  type        = string
  default     = "0.0.0.0/0"
  description = "Who reaches the build instance's SSH port while it builds."
}

# The lab: its own EC2 endpoint, and an sshd of this machine or of a container in place of the instance's.
variable "endpoint" {
  type    = string
  default = ""
}

variable "ssh_username" {
  type = string
}

variable "ssh_host" {
  type    = string
  default = ""
}

variable "ssh_port" {
  type    = number
  default = 22
}

variable "ssh_keypair_name" {
  type    = string
  default = ""
}

variable "ssh_private_key_file" {
  type    = string
  default = ""
}

variable "root" {
  type        = string
  default     = ""
  description = "Folder to install below, without packages; empty installs on the instance itself."
}

source "amazon-ebs" "instance" {
  region              = var.region
  custom_endpoint_ec2 = var.endpoint
  source_ami          = var.source_ami
  instance_type       = var.arch == "arm64" ? "t4g.small" : "t3.small"
  subnet_id           = var.subnet
  ami_name            = var.image_name
  ami_description     = "Tidemark ${var.version} on ${var.os} (${var.arch})"

  temporary_security_group_source_cidrs = [var.ssh_cidr]

  ssh_username              = var.ssh_username
  ssh_host                  = var.ssh_host
  ssh_port                  = var.ssh_port
  ssh_keypair_name          = var.ssh_keypair_name
  ssh_private_key_file      = var.ssh_private_key_file
  ssh_timeout               = "5m"
  ssh_clear_authorized_keys = true

  tags = {
    Name               = var.image_name
    "tidemark:version" = var.version
    "tidemark:os"      = var.os
    "tidemark:arch"    = var.arch
    "tidemark:source"  = var.source_ami
  }
}

build {
  sources = ["source.amazon-ebs.instance"]

  provisioner "shell" {
    inline = ["rm -rf '${var.root}/tmp/tidemark'", "mkdir -p '${var.root}/tmp/tidemark'"]
  }

  provisioner "file" {
    source      = "${var.staged}/"
    destination = "${var.root}/tmp/tidemark"
  }

  provisioner "shell" {
    environment_vars = ["TIDEMARK_ROOT=${var.root}"]
    inline           = ["bash '${var.root}/tmp/tidemark/provision/provision.sh'"]
  }

  post-processor "manifest" {
    output = var.manifest
  }
}
