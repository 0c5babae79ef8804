//! Where the settings document lies: in the environment itself, or where that points to.

use aws::Session;
use aws::stored_token::parameter;
use secrecy::ExposeSecret as _;

use crate::ports::Problem;

/// The variable that holds the document, or says where it lies.
pub const VARIABLE: &str = "SCALER_SETTINGS";

/// Where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Here.
    Inline(String),
    /// In this parameter of SSM.
    Parameter(String),
}

impl Source {
    /// As the variable says; none where it is empty.
    ///
    /// # Errors
    /// It names a place that nothing is read from.
    pub fn of_environment(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Option<Self>, Problem> {
        let Some(text) = lookup(VARIABLE).filter(|text| !text.trim().is_empty()) else { return Ok(None) };
        let place = text.trim();
        if place.contains(char::is_whitespace) {
            return Ok(Some(Self::Inline(text)));
        }
        match place.split_once(':') {
            Some(("ssm", name)) if !name.is_empty() => Ok(Some(Self::Parameter(name.to_owned()))),
            Some(("ssm" | "s3" | "https" | "http" | "file", _)) => Err(Problem::new(
                78,
                format!("{VARIABLE} is `{place}`: give YAML, or ssm: and a parameter's name"),
            )),
            _ => Ok(Some(Self::Inline(text))),
        }
    }

    /// The document.
    ///
    /// # Errors
    /// AWS does not give it.
    pub async fn fetch(&self, session: &Session) -> Result<String, Problem> {
        match self {
            Self::Inline(text) => Ok(text.clone()),
            Self::Parameter(name) => {
                parameter(session, name).await.map(|text| text.expose_secret().to_owned()).map_err(|error| {
                    let problem = Problem::from(error);
                    Problem::new(problem.code, format!("{VARIABLE}: {}", problem.message))
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_may_be_a_place_and_all_else_is_the_document() {
        let of = |text: &str| Source::of_environment(&|_| Some(text.to_owned()));
        let inline = |text: &str| Ok(Some(Source::Inline(text.to_owned())));
        assert_eq!(of(" \n"), Ok(None));
        assert_eq!(
            of(" ssm:/tidemark/ci/scaler\n"),
            Ok(Some(Source::Parameter("/tidemark/ci/scaler".into())))
        );
        assert_eq!(of("idle-instances: 2"), inline("idle-instances: 2"));
        assert_eq!(of("{}"), inline("{}"));
        for place in ["ssm:", "s3://bucket/key", "https://host/x", "file:/x"] {
            let problem = of(place).unwrap_err();
            assert!(problem.code == 78 && problem.message.contains(place), "{problem}");
        }
    }
}
