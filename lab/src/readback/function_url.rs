//! Functions that have a URL, and whether everybody may use it.

use anyhow::Result;
use serde_json::Value;

use super::{Readback, text};
use crate::function_url::model::{FunctionUrl, is_open};

impl Readback {
    /// All functions with a URL without authentication.
    ///
    /// # Errors
    /// moto does not answer, or with something else.
    pub async fn function_urls(&self) -> Result<Vec<FunctionUrl>> {
        let listed = self.lambda("2015-03-31/functions").await?.unwrap_or_default();
        let names = listed["Functions"].as_array().into_iter().flatten();
        let names: Vec<&str> = names.filter_map(|function| function["FunctionName"].as_str()).collect();
        let mut found = Vec::new();
        for name in names {
            let url = self.lambda(&format!("2021-10-31/functions/{name}/url")).await?;
            if url.is_none_or(|url| url["AuthType"] != "NONE") {
                continue;
            }
            let policy =
                self.lambda(&format!("2015-03-31/functions/{name}/policy")).await?.unwrap_or_default();
            let policy: Value =
                serde_json::from_str(policy["Policy"].as_str().unwrap_or_default()).unwrap_or_default();
            found.push(FunctionUrl { function: self.function(name).await?, open: is_open(&policy) });
        }
        Ok(found)
    }

    /// A read of Lambda's; none for what is not there.
    async fn lambda(&self, path: &str) -> Result<Option<Value>> {
        let request = self.client.get(format!("{}/{path}", self.moto));
        let answer = request.header("Authorization", self.authorization("lambda")).send().await?;
        if answer.status() == reqwest::StatusCode::NOT_FOUND {
            return Ok(None);
        }
        Ok(Some(serde_json::from_str(&text(path, answer).await?)?))
    }
}
