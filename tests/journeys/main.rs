//! journeys

mod lone_cloud;
mod stack_verbs;
mod template_effects;
