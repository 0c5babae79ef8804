//! Whether everything that a build needs can be reached: kiln's connectivity test, and what we need beside it.

use jiff::Timestamp;

use crate::problem::Problem;
use crate::worker::Worker;

/// One look.
#[derive(Debug)]
pub struct Finding {
    /// At what.
    pub what: &'static str,
    /// What there is, or what lacks.
    pub result: Result<String, Problem>,
}

/// Looks at everything, in kiln's order: queue, repository, bucket; then Packer and the table.
pub async fn check(worker: &Worker) -> Vec<Finding> {
    let url = || worker.queue.url().to_owned();
    let mut findings = vec![Finding { what: "queue", result: worker.queue.look().await.map(|()| url()) }];
    let repository = worker.builder.mirror.update().await.map(|()| "branches and tags are here".to_owned());
    findings.push(Finding { what: "templates", result: repository });
    let key = format!("connectivityTest/{}.txt", Timestamp::now().as_second());
    let place = format!("s3://{}/{key}", worker.audits.name());
    findings.push(Finding { what: "audit bucket", result: worker.audits.probe(&key).await.map(|()| place) });
    let version = worker.builder.packer.version().await;
    findings.push(Finding { what: "packer", result: version });
    if let Some(ledger) = &worker.ledger {
        let found = ledger.read("connectivity-test").await;
        findings.push(Finding { what: "table of builds", result: found.map(|_| "can be read".to_owned()) });
    }
    findings
}

/// Pure: a line each, and the first failure.
#[must_use]
pub fn told(findings: &[Finding]) -> (String, Option<Problem>) {
    let width = findings.iter().map(|finding| finding.what.len()).max().unwrap_or_default();
    let lines = findings.iter().map(|finding| match &finding.result {
        Ok(text) => format!("ok    {:width$}  {text}\n", finding.what),
        Err(problem) => format!("FAIL  {:width$}  {problem}\n", finding.what),
    });
    let first = findings.iter().find_map(|finding| finding.result.as_ref().err()).cloned();
    (lines.collect(), first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finding_has_its_line_and_the_first_failure_is_the_exit_code() {
        let findings = [
            Finding { what: "queue", result: Ok("https://q".to_owned()) },
            Finding { what: "audit bucket", result: Err(Problem::new(77, "denied")) },
            Finding { what: "packer", result: Err(Problem::new(78, "absent")) },
        ];
        let (text, first) = told(&findings);
        assert_eq!(
            text,
            "ok    queue         https://q\nFAIL  audit bucket  denied\nFAIL  packer        absent\n"
        );
        assert_eq!(first.unwrap().code, 77);
    }
}
