//! What ticks remember of a queue, taken out of one process and put into another.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Served;
use crate::hint::heard::Heard;
use crate::ledger::Ledger;
use crate::ports::Problem;
use crate::sharing::Memory;
use crate::state::store::Store;
use crate::state::{OfGroup, State};

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
    /// Goes on from what an earlier process wrote, with what that one heard.
    ///
    /// # Errors
    /// The ledger does not answer: all is learned anew.
    pub async fn recall_from<L: Ledger>(
        &mut self,
        store: &mut Store<L>,
        heard: &Heard,
        now: Timestamp,
    ) -> Result<(), Problem> {
        if let Some(state) = store.load(now).await? {
            heard.recall(state.heard);
            self.recall(state.groups, state.others);
        }
        Ok(())
    }

    /// Writes what was learned and heard, where it changed.
    ///
    /// # Errors
    /// The ledger does not answer.
    pub async fn keep_in<L: Ledger>(
        &self,
        store: &mut Store<L>,
        heard: &Heard,
        now: Timestamp,
    ) -> Result<(), Problem> {
        // Who was faster knows something else of hints, and of groups the same: twice is enough, the next time is soon.
        for _ in 0..2 {
            let (groups, others) = self.remembered();
            let state = State { heard: heard.learned(), groups, others };
            if !store.is_news(&state) {
                break;
            }
            let Some(theirs) = store.save(&state, now).await? else { break };
            heard.join(theirs.heard);
        }
        Ok(())
    }
}
