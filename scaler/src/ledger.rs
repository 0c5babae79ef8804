//! Where what must outlive a process lies: items of the stack's table, each replaced only by whoever knows what is there.

pub mod dynamodb;
pub mod fake;

use std::future::Future;

use crate::ports::Problem;

/// An item as it lies there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Another one with every change.
    pub version: String,
    /// What it says.
    pub body: String,
}

/// Items that are changed only by whoever knows their version.
pub trait Ledger {
    /// The item, as the last change that was answered left it.
    fn read(&self, id: &str) -> impl Future<Output = Result<Option<Item>, Problem>> + Send;

    /// Puts the item in place of the version `over`, or where there is none. False: something else is there.
    fn put(
        &self,
        id: &str,
        item: &Item,
        over: Option<&str>,
    ) -> impl Future<Output = Result<bool, Problem>> + Send;

    /// Removes the item if its version is `over`. False: something else is there, or nothing.
    fn remove(&self, id: &str, over: &str) -> impl Future<Output = Result<bool, Problem>> + Send;
}
