//! Reads back from moto what a deployed stack made there: groups, launch templates, functions, schedules, alarms; and
//! tells it of the instances that the lab has. Past the endpoint: these calls are the lab's own and nobody's.

mod alarms;
mod function_url;
pub mod group;
mod instances;
mod log_group;
mod template;

use anyhow::{Context, Result, bail};
use secrecy::SecretString;
use serde_json::Value;

use crate::schedule::model::{Function, Rate, Schedule};

/// A way to moto.
#[derive(Debug, Clone)]
pub struct Readback {
    client: reqwest::Client,
    moto: String,
    region: String,
    session: aws::Session,
}

impl Readback {
    /// Reads from the moto server at `moto`.
    pub async fn new(moto: &str, region: &str) -> Self {
        // moto decides nothing by credentials: the endpoint does.
        let secret: SecretString = "lab".to_owned().into();
        let session = aws::Session::at(moto, region, "lab", &secret, None).await;
        Self { client: reqwest::Client::new(), moto: moto.to_owned(), region: region.to_owned(), session }
    }

    /// moto finds the service in the credential scope of a signature, which it does not verify.
    fn authorization(&self, service: &str) -> String {
        format!(
            "AWS4-HMAC-SHA256 Credential=lab/20260101/{}/{service}/aws4_request, SignedHeaders=host, Signature=lab",
            self.region
        )
    }

    /// A call of the Query protocol; its XML.
    async fn query(&self, service: &str, parameters: &[(&str, &str)]) -> Result<String> {
        let answer = self
            .client
            .post(&self.moto)
            .header("Authorization", self.authorization(service))
            .form(parameters)
            .send()
            .await?;
        text(service, answer).await
    }

    /// A call of the JSON 1.1 protocol.
    async fn json(&self, service: &str, target: &str, body: &Value) -> Result<Value> {
        let answer = self
            .client
            .post(&self.moto)
            .header("Authorization", self.authorization(service))
            .header("X-Amz-Target", target)
            .header("Content-Type", "application/x-amz-json-1.1")
            .body(body.to_string())
            .send()
            .await?;
        Ok(serde_json::from_str(&text(target, answer).await?)?)
    }

    /// A Lambda function.
    ///
    /// # Errors
    /// moto does not answer, or with something else.
    pub async fn function(&self, name: &str) -> Result<Function> {
        let url = format!("{}/2015-03-31/functions/{name}/configuration", self.moto);
        let answer =
            self.client.get(url).header("Authorization", self.authorization("lambda")).send().await?;
        let read: Value = serde_json::from_str(&text("lambda:GetFunctionConfiguration", answer).await?)?;
        let variables = read["Environment"]["Variables"].as_object().into_iter().flatten();
        Ok(Function {
            name: read["FunctionName"].as_str().context("a function without name")?.to_owned(),
            arn: read["FunctionArn"].as_str().unwrap_or_default().to_owned(),
            role: read["Role"].as_str().context("a function without role")?.to_owned(),
            timeout: std::time::Duration::from_secs(read["Timeout"].as_u64().unwrap_or(3)),
            memory: read["MemorySize"].as_u64().unwrap_or(128),
            environment: variables.map(|(k, v)| (k.clone(), variable(v))).collect(),
            log_group: self.log_group_of(name).await?,
        })
    }

    /// The enabled rules with a rate, and the functions they invoke.
    ///
    /// # Errors
    /// moto does not answer; a schedule expression that the lab does not know.
    pub async fn schedules(&self) -> Result<Vec<Schedule>> {
        let rules = self.json("events", "AWSEvents.ListRules", &serde_json::json!({})).await?;
        let mut found = Vec::new();
        for rule in rules["Rules"].as_array().into_iter().flatten() {
            let (Some(name), Some(expression)) = (rule["Name"].as_str(), rule["ScheduleExpression"].as_str())
            else {
                continue;
            };
            if rule["State"] != "ENABLED" {
                continue;
            }
            let Some(rate) = Rate::parse(expression) else {
                bail!("rule {name}: the lab knows `rate(…)`, not `{expression}`");
            };
            let body = serde_json::json!({ "Rule": name });
            let targets = self.json("events", "AWSEvents.ListTargetsByRule", &body).await?;
            for target in targets["Targets"].as_array().into_iter().flatten() {
                let arn = target["Arn"].as_str().unwrap_or_default();
                if let Some((_, function)) = arn.split_once(":function:") {
                    let function = self.function(function).await?;
                    found.push(Schedule {
                        rule: name.to_owned(),
                        rule_arn: rule["Arn"].as_str().unwrap_or_default().to_owned(),
                        rate,
                        function,
                    });
                }
            }
        }
        Ok(found)
    }
}

/// A variable's text: what the template gives as a number, moto keeps as one.
fn variable(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The body of a good answer.
async fn text(what: &str, answer: reqwest::Response) -> Result<String> {
    let status = answer.status();
    let body = answer.text().await?;
    if !status.is_success() {
        let start: String = body.chars().take(300).collect();
        bail!("{what} at moto: {status}: {start}");
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_the_template_gives_as_a_number_is_text() {
        let read = |value| variable(&value);
        assert_eq!([read("3".into()), read(3.into()), read(true.into())], ["3", "3", "true"]);
    }
}
