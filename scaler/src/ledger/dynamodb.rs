//! The ledger in a DynamoDB table with the key `id`.

use std::future::Future;
use std::time::Duration;

use aws::dynamodb::{Client, Failure, is_unmet};
use aws::{CallError, Session};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Item, Ledger};
use crate::ports::Problem;

/// A tick waits for the table no longer than this: scaling goes on without it.
const TIMEOUT: Duration = Duration::from_secs(2);

/// An item that nobody changes for so long is removed by AWS: that of a queue that is served no more. Far beyond any
/// difference of clocks.
const KEPT: i64 = 60 * 86_400;

/// Items of one table.
#[derive(Debug, Clone)]
pub struct DynamoDbLedger {
    client: Client,
    table: String,
}

impl DynamoDbLedger {
    /// Those of this table.
    #[must_use]
    pub fn new(session: &Session, table: impl Into<String>) -> Self {
        Self { client: session.dynamodb(), table: table.into() }
    }

    async fn call(
        &self,
        operation: &'static str,
        id: &str,
        call: impl Future<Output = Result<Value, Failure>>,
    ) -> Result<Option<Value>, Problem> {
        let on = format!("item {id} of table {}", self.table);
        match tokio::time::timeout(TIMEOUT, call).await {
            Ok(Ok(answer)) => Ok(Some(answer)),
            Ok(Err(failure)) if is_unmet(&failure) => Ok(None),
            Ok(Err(failure)) => Err(CallError::new(&failure, operation, on).into()),
            Err(_) => Err(Problem::new(69, format!("{operation} on {on}: no answer within {TIMEOUT:?}"))),
        }
    }
}

impl Ledger for DynamoDbLedger {
    async fn read(&self, id: &str) -> Result<Option<Item>, Problem> {
        let body = json!({"TableName": self.table, "Key": {"id": {"S": id}}, "ConsistentRead": true});
        let answer = self.call("dynamodb:GetItem", id, self.client.get_item(body)).await?;
        let Some(item) = answer.as_ref().and_then(|answer| answer.get("Item")) else { return Ok(None) };
        let text = |name: &str| item[name]["S"].as_str().map(str::to_owned);
        // What somebody else put there has no version that could be replaced: it is in the way, and that is said.
        let read = text("version").zip(text("body")).map(|(version, body)| Item { version, body });
        let foreign = || Problem::new(1, format!("item {id} of table {}: no item of the scaler", self.table));
        read.map(Some).ok_or_else(foreign)
    }

    async fn put(&self, id: &str, item: &Item, over: Option<&str>) -> Result<bool, Problem> {
        let expires = Timestamp::now().as_second().saturating_add(KEPT);
        let mut body = json!({
            "TableName": self.table,
            "Item": {
                "id": {"S": id},
                "version": {"S": item.version},
                "body": {"S": item.body},
                "expires": {"N": expires.to_string()},
            },
        });
        condition(&mut body, over);
        let answer = self.call("dynamodb:PutItem", id, self.client.put_item(body)).await?;
        Ok(answer.is_some())
    }

    async fn remove(&self, id: &str, over: &str) -> Result<bool, Problem> {
        let mut body = json!({"TableName": self.table, "Key": {"id": {"S": id}}});
        condition(&mut body, Some(over));
        let answer = self.call("dynamodb:DeleteItem", id, self.client.delete_item(body)).await?;
        Ok(answer.is_some())
    }
}

fn condition(body: &mut Value, over: Option<&str>) {
    body["ExpressionAttributeNames"] = json!({"#version": "version"});
    match over {
        None => body["ConditionExpression"] = json!("attribute_not_exists(#version)"),
        Some(over) => {
            body["ConditionExpression"] = json!("#version = :over");
            body["ExpressionAttributeValues"] = json!({":over": {"S": over}});
        }
    }
}
