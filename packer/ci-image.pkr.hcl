# The AMI of the stack: Debian with the agents' needs and Tidemark's programs. `make build-ami` runs it.
# Plain HCL2 of Packer 1.6, as Debian ships it: amazon-ebs is built in, so there is no plugin block.

variable "region" {
  type = string
}

variable "source_ami" {
  type        = string
  description = "The Debian image to start from; scripts/build-ami finds the newest."
}

variable "image_name" {
  type = string
}

variable "version" {
  type = string
}

variable "programs" {
  type        = string
  description = "Folder with the shipped programs and their units."
}

variable "manifest" {
  type        = string
  description = "File that gets the image's id."
}

variable "instance_type" {
  type    = string
  default = "t3.small"
}

variable "ssh_username" {
  type    = string
  default = "admin"
}

# The lab: its own EC2 endpoint, and an sshd of this machine in place of the instance's. All empty on AWS.
variable "endpoint" {
  type    = string
  default = ""
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
  description = "Folder to install below; empty installs on the instance itself, with packages."
}

source "amazon-ebs" "debian" {
  region              = var.region
  custom_endpoint_ec2 = var.endpoint
  source_ami          = var.source_ami
  instance_type       = var.instance_type
  ami_name            = var.image_name
  ami_description     = "Tidemark ${var.version}"
  encrypt_boot        = false

  ssh_username         = var.ssh_username
  ssh_host             = var.ssh_host
  ssh_port             = var.ssh_port
  ssh_keypair_name     = var.ssh_keypair_name
  ssh_private_key_file = var.ssh_private_key_file
  ssh_timeout          = "5m"

  tags = {
    Name               = var.image_name
    "tidemark:version" = var.version
    "tidemark:source"  = var.source_ami
  }
}

build {
  sources = ["source.amazon-ebs.debian"]

  provisioner "shell" {
    environment_vars = ["TIDEMARK_ROOT=${var.root}"]
    execute_command  = "{{ .Vars }} bash '{{ .Path }}'"
    scripts          = ["${path.root}/scripts/make-room.sh", "${path.root}/scripts/install-packages.sh"]
  }

  provisioner "file" {
    source      = "${var.programs}/"
    destination = "${var.root}/tmp/tidemark"
  }

  provisioner "shell" {
    environment_vars = ["TIDEMARK_ROOT=${var.root}"]
    execute_command  = "{{ .Vars }} bash '{{ .Path }}'"
    script           = "${path.root}/scripts/install-tidemark.sh"
  }

  post-processor "manifest" {
    output = var.manifest
  }
}
