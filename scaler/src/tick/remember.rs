//! What ticks remember of a queue, taken out of one process and put into another.

use std::collections::BTreeMap;

use super::Served;
use crate::sharing::Memory;
use crate::state::OfGroup;

impl<G> Served<G> {
    /// What is remembered of its groups, and of other stacks.
    #[must_use]
    pub fn remembered(&self) -> (BTreeMap<String, OfGroup>, Memory) {
        let of_group = |kept: &super::Kept<G>| {
            let of_group =
                OfGroup { shortage: kept.shortage, brake: kept.brake.clone(), boots: kept.boots.clone() };
            (kept.name.clone(), of_group)
        };
        (self.groups.iter().map(of_group).collect(), self.memory.clone())
    }

    /// Goes on from there. Groups that are not its own any more are forgotten.
    pub fn recall(&mut self, mut groups: BTreeMap<String, OfGroup>, others: Memory) {
        for kept in &mut self.groups {
            if let Some(OfGroup { shortage, brake, boots }) = groups.remove(&kept.name) {
                (kept.shortage, kept.brake, kept.boots) = (shortage, brake, boots);
            }
        }
        self.memory = others;
    }
}
