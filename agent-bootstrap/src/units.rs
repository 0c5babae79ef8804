//! The unit manager: how agents and services are started and stopped. systemd on an AMI, processes in the lab.
