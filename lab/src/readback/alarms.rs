//! Alarms, scaling policies and metrics, from moto and to it.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Readback;
use crate::alarms::evaluate::{Alarm, Comparison, Missing, Published, State, Statistic};
use crate::alarms::policy::{Step, StepPolicy};

impl Readback {
    /// A call of CloudWatch.
    async fn cloudwatch(&self, action: &str, body: &Value) -> Result<Value> {
        self.json("monitoring", &format!("GraniteServiceVersion20100801.{action}"), body).await
    }

    /// All alarms with their states. One that the lab cannot evaluate is told and left out.
    ///
    /// # Errors
    /// moto does not answer.
    pub async fn alarms(&self) -> Result<Vec<(Alarm, State)>> {
        let read = self.cloudwatch("DescribeAlarms", &json!({})).await?;
        let all = read["MetricAlarms"].as_array().into_iter().flatten();
        let known = all.filter_map(|read| match alarm(read) {
            Ok(found) => Some(found),
            Err(error) => {
                let name = read["AlarmName"].as_str().unwrap_or_default();
                tracing::warn!(name, error = format!("{error:#}"), "an alarm is not evaluated");
                None
            }
        });
        Ok(known.collect())
    }

    /// The step policies of all groups.
    ///
    /// # Errors
    /// moto does not answer.
    pub async fn step_policies(&self) -> Result<Vec<StepPolicy>> {
        let answer = self.session.autoscaling().describe_policies().send().await;
        let answer = answer.context("read of the scaling policies from moto")?;
        let changes = |policy: &&aws::autoscaling::types::ScalingPolicy| {
            policy.policy_type() == Some("StepScaling")
                && policy.adjustment_type() == Some("ChangeInCapacity")
        };
        let policies = answer.scaling_policies().iter().filter(changes).map(|policy| {
            let steps = policy.step_adjustments().iter().map(|step| Step {
                lower: step.metric_interval_lower_bound(),
                upper: step.metric_interval_upper_bound(),
                adjustment: step.scaling_adjustment().unwrap_or(0).into(),
            });
            let warm_up = u64::try_from(policy.estimated_instance_warmup().unwrap_or(0)).unwrap_or(0);
            StepPolicy {
                arn: policy.policy_arn().unwrap_or_default().to_owned(),
                name: policy.policy_name().unwrap_or_default().to_owned(),
                group: policy.auto_scaling_group_name().unwrap_or_default().to_owned(),
                warm_up: Duration::from_secs(warm_up),
                steps: steps.collect(),
            }
        });
        Ok(policies.collect())
    }

    /// What was published of an alarm's metric, second by second.
    ///
    /// # Errors
    /// moto does not answer.
    pub async fn metric(&self, alarm: &Alarm, from: Timestamp, to: Timestamp) -> Result<Vec<Published>> {
        let dimensions: Vec<Value> =
            alarm.dimensions.iter().map(|(name, value)| json!({"Name": name, "Value": value})).collect();
        let body = json!({
            "Namespace": alarm.namespace,
            "MetricName": alarm.metric,
            "Dimensions": dimensions,
            "StartTime": from.as_second(),
            // The end does not count.
            "EndTime": to.as_second() + 1,
            "Period": 1,
            "Statistics": ["Minimum", "Maximum", "Sum", "SampleCount"],
        });
        let read = self.cloudwatch("GetMetricStatistics", &body).await?;
        let one = |point: &Value| {
            let number =
                |name: &str| point[name].as_f64().with_context(|| format!("a datapoint without {name}"));
            Ok(Published {
                at: time(&point["Timestamp"])?,
                minimum: number("Minimum")?,
                maximum: number("Maximum")?,
                sum: number("Sum")?,
                count: number("SampleCount")?,
            })
        };
        read["Datapoints"].as_array().into_iter().flatten().map(one).collect()
    }

    /// What an evaluation came to.
    ///
    /// # Errors
    /// moto does not answer.
    pub async fn set_alarm_state(&self, name: &str, state: State, reason: &str) -> Result<()> {
        let body = json!({"AlarmName": name, "StateValue": state.word(), "StateReason": reason});
        self.cloudwatch("SetAlarmState", &body).await?;
        Ok(())
    }

    /// What Lambda publishes of an invocation.
    ///
    /// # Errors
    /// moto does not answer.
    pub async fn put_invocation(&self, function: &str, at: Timestamp, failed: bool) -> Result<()> {
        let one = |name: &str, value: u8| {
            json!({
                "MetricName": name,
                "Dimensions": [{"Name": "FunctionName", "Value": function}],
                "Timestamp": at.as_second(),
                "Unit": "Count",
                "Value": value,
            })
        };
        let data = json!([one("Invocations", 1), one("Errors", u8::from(failed))]);
        self.cloudwatch("PutMetricData", &json!({"Namespace": "AWS/Lambda", "MetricData": data})).await?;
        Ok(())
    }
}

/// A time: seconds since 1970, or text.
fn time(read: &Value) -> Result<Timestamp> {
    match read {
        Value::String(text) => text.parse().with_context(|| format!("a datapoint's time `{text}`")),
        #[expect(clippy::cast_possible_truncation, reason = "whole seconds of this century")]
        other => Ok(Timestamp::from_second(other.as_f64().context("a datapoint without a time")? as i64)?),
    }
}

fn alarm(read: &Value) -> Result<(Alarm, State)> {
    let text = |name: &str| read[name].as_str().with_context(|| format!("no {name}"));
    let number = |name: &str| read[name].as_u64().with_context(|| format!("no {name}"));
    let strings = |value: &Value| {
        let all = value.as_array().into_iter().flatten();
        all.filter_map(|one| one.as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let dimension = |one: &Value| Some((one["Name"].as_str()?.to_owned(), one["Value"].as_str()?.to_owned()));
    let periods = u16::try_from(number("EvaluationPeriods")?)?;
    let found = Alarm {
        name: text("AlarmName")?.to_owned(),
        namespace: text("Namespace")?.to_owned(),
        metric: text("MetricName")?.to_owned(),
        dimensions: read["Dimensions"].as_array().into_iter().flatten().filter_map(dimension).collect(),
        statistic: match text("Statistic")? {
            "Sum" => Statistic::Sum,
            "Average" => Statistic::Average,
            "Minimum" => Statistic::Minimum,
            "Maximum" => Statistic::Maximum,
            "SampleCount" => Statistic::SampleCount,
            other => bail!("the lab knows no statistic {other}"),
        },
        period: Duration::from_secs(number("Period")?),
        periods,
        to_alarm: number("DatapointsToAlarm").ok().and_then(|n| u16::try_from(n).ok()).unwrap_or(periods),
        threshold: read["Threshold"].as_f64().context("no Threshold")?,
        comparison: match text("ComparisonOperator")? {
            "GreaterThanOrEqualToThreshold" => Comparison::AtLeast,
            "GreaterThanThreshold" => Comparison::Above,
            "LessThanOrEqualToThreshold" => Comparison::AtMost,
            "LessThanThreshold" => Comparison::Below,
            other => bail!("the lab knows no comparison {other}"),
        },
        missing: match read["TreatMissingData"].as_str() {
            None | Some("missing" | "") => Missing::Missing,
            Some("ignore") => Missing::Ignore,
            Some("breaching") => Missing::Breaching,
            Some("notBreaching") => Missing::NotBreaching,
            Some(other) => bail!("TreatMissingData is {other}"),
        },
        actions: if read["ActionsEnabled"] == false { Vec::new() } else { strings(&read["AlarmActions"]) },
    };
    let state = match text("StateValue")? {
        "OK" => State::Ok,
        "ALARM" => State::Alarm,
        _ => State::InsufficientData,
    };
    Ok((found, state))
}
