//! Answers that the endpoint gives itself, in the wire formats of AWS.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

/// A whole HTTP answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// Headers, content type included.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// A value in an XML answer of the query protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Xml {
    /// Text; escaped when written.
    Text(String),
    /// A list, each element written as `<member>`.
    List(Vec<Xml>),
    /// A structure: fields in order.
    Fields(Vec<(&'static str, Xml)>),
}

impl Xml {
    /// The text form of anything that prints.
    pub fn text(value: impl ToString) -> Self {
        Self::Text(value.to_string())
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Text(text) => out.push_str(&escape(text)),
            Self::List(items) => {
                for item in items {
                    element("member", item, out);
                }
            }
            Self::Fields(fields) => {
                for (name, value) in fields {
                    element(name, value, out);
                }
            }
        }
    }
}

fn element(name: &str, value: &Xml, out: &mut String) {
    out.push_str(&format!("<{name}>"));
    value.write(out);
    out.push_str(&format!("</{name}>"));
}

/// Escapes text for XML content and attributes; control characters that XML 1.0 forbids are dropped.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' | '\r' => out.push(character),
            control if control.is_control() => {}
            other => out.push(other),
        }
    }
    out
}

/// The text of the first element `tag` in an XML text that moto or a keeper wrote.
#[must_use]
pub fn text_of(xml: &str, tag: &str) -> Option<String> {
    let (_, after) = xml.split_once(&format!("<{tag}>"))?;
    let (text, _) = after.split_once(&format!("</{tag}>"))?;
    let text = text.replace("&lt;", "<").replace("&gt;", ">");
    Some(text.replace("&quot;", "\"").replace("&amp;", "&"))
}

impl Answer {
    /// An answer with this status, content type and body.
    #[must_use]
    pub fn new(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        Self { status, headers, body: body.into() }
    }

    /// The success answer of a query-protocol `action`; `namespace` is the service's XML namespace.
    /// An action without a result passes `Xml::Fields(vec![])`.
    #[must_use]
    pub fn query(action: &str, namespace: &str, result: &Xml) -> Self {
        let mut body = format!("<{action}Response xmlns=\"{namespace}\"><{action}Result>");
        result.write(&mut body);
        body.push_str(&format!(
            "</{action}Result><ResponseMetadata><RequestId>{}</RequestId></ResponseMetadata></{action}Response>",
            uuid::Uuid::new_v4()
        ));
        Self::new(StatusCode::OK, "text/xml", body)
    }

    /// The success answer of an Auto Scaling action.
    #[must_use]
    pub fn autoscaling(action: &str, result: &Xml) -> Self {
        Self::query(action, "http://autoscaling.amazonaws.com/doc/2011-01-01/", result)
    }

    /// A client's error (400) in the query protocol, such as Auto Scaling's `ValidationError`.
    #[must_use]
    pub fn query_error(code: &str, message: &str) -> Self {
        Self::query_fault(StatusCode::BAD_REQUEST, code, message)
    }

    /// An error of any status in the query protocol.
    #[must_use]
    pub fn query_fault(status: StatusCode, code: &str, message: &str) -> Self {
        let kind = if status.is_server_error() { "Receiver" } else { "Sender" };
        let body = format!(
            "<ErrorResponse><Error><Type>{kind}</Type><Code>{}</Code><Message>{}</Message></Error><RequestId>{}</RequestId></ErrorResponse>",
            escape(code),
            escape(message),
            uuid::Uuid::new_v4()
        );
        Self::new(status, "text/xml", body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_structures_is_written_as_members() {
        let answer = Answer::autoscaling(
            "DescribeAutoScalingGroups",
            &Xml::Fields(vec![(
                "AutoScalingGroups",
                Xml::List(vec![Xml::Fields(vec![
                    ("AutoScalingGroupName", Xml::text("a<b")),
                    ("DesiredCapacity", Xml::text(3)),
                ])]),
            )]),
        );
        let body = String::from_utf8(answer.body.to_vec()).unwrap();
        assert!(body.contains(
            "<DescribeAutoScalingGroupsResult><AutoScalingGroups><member>\
             <AutoScalingGroupName>a&lt;b</AutoScalingGroupName><DesiredCapacity>3</DesiredCapacity>\
             </member></AutoScalingGroups></DescribeAutoScalingGroupsResult>"
        ));
    }

    #[test]
    fn an_error_names_its_code_and_side() {
        let answer = Answer::query_error("ValidationError", "New SetDesiredCapacity value 9");
        assert_eq!(answer.status, 400);
        let body = String::from_utf8(answer.body.to_vec()).unwrap();
        assert!(body.contains("<Type>Sender</Type><Code>ValidationError</Code>"));
    }
}
