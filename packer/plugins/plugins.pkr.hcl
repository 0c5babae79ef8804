# For Packer 1.7 and later, which loads its builders as plugins; 1.6 has them built in and knows no such block.
# scripts/build-ami puts this file beside the template where the version asks for it.
packer {
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = ">= 1.2.8, < 2.0.0"
    }
  }
}
