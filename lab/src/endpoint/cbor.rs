//! CloudWatch's wire format between the AWS SDK for Rust (CBOR) and moto (JSON).
//!
//! `smithy-rpc-v2-cbor` sends times with tag 1 and real numbers as floats; `awsJson1.0` has plain numbers for both. So
//! on the way back the fields that the CloudWatch model declares as times and as reals are told by their names.

use anyhow::{Result, bail};
use minicbor::data::{IanaTag, Type};
use minicbor::{Decoder, Encoder};
use serde_json::{Map, Number, Value};

/// Bodies nested deeper than this are refused.
const DEPTH: usize = 32;

/// Fields of type double (or lists and maps of them) in CloudWatch's answers.
const REALS: [&str; 10] = [
    "Average",
    "Maximum",
    "Minimum",
    "SampleCount",
    "Sum",
    "Threshold",
    "Value",
    "Values",
    "ExtendedStatistics",
    "EvaluateLowSampleCountPercentile",
];

/// A CBOR body as JSON; an empty body is an empty object.
///
/// # Errors
/// When it is not CBOR, or nested too deep, or holds what JSON cannot.
pub fn to_json(body: &[u8]) -> Result<Value> {
    if body.is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    read(&mut Decoder::new(body), DEPTH)
}

fn read(from: &mut Decoder<'_>, depth: usize) -> Result<Value> {
    if depth == 0 {
        bail!("nested too deep");
    }
    Ok(match from.datatype()? {
        Type::Bool => from.bool()?.into(),
        Type::Null | Type::Undefined => {
            from.skip()?;
            Value::Null
        }
        Type::F16 | Type::F32 | Type::F64 => Number::from_f64(from.f64()?).map_or(Value::Null, Value::Number),
        Type::String | Type::StringIndef => from.str_iter()?.collect::<Result<String, _>>()?.into(),
        Type::Tag => {
            from.tag()?;
            read(from, depth - 1)?
        }
        Type::Array | Type::ArrayIndef => {
            let length = from.array()?;
            let mut items = Vec::new();
            while more(from, length, items.len())? {
                items.push(read(from, depth - 1)?);
            }
            Value::Array(items)
        }
        Type::Map | Type::MapIndef => {
            let length = from.map()?;
            let mut fields = Map::new();
            let mut seen = 0;
            while more(from, length, seen)? {
                let name: String = from.str_iter()?.collect::<Result<_, _>>()?;
                fields.insert(name, read(from, depth - 1)?);
                seen += 1;
            }
            Value::Object(fields)
        }
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => from.u64()?.into(),
        Type::I8 | Type::I16 | Type::I32 | Type::I64 => from.i64()?.into(),
        other => bail!("CBOR type {other} has no JSON form"),
    })
}

/// Whether another element follows; an indefinite length ends with a break, which is consumed.
fn more(from: &mut Decoder<'_>, length: Option<u64>, seen: usize) -> Result<bool> {
    if let Some(length) = length {
        return Ok((seen as u64) < length);
    }
    if from.datatype()? == Type::Break {
        from.skip()?;
        return Ok(false);
    }
    Ok(true)
}

/// A JSON answer of CloudWatch as CBOR.
#[must_use]
pub fn from_json(value: &Value) -> Vec<u8> {
    let mut out = Encoder::new(Vec::new());
    write(&mut out, value, "").expect("a Vec takes every write");
    out.into_writer()
}

fn write(
    out: &mut Encoder<Vec<u8>>,
    value: &Value,
    field: &str,
) -> Result<(), minicbor::encode::Error<std::convert::Infallible>> {
    match value {
        Value::Null => out.null()?,
        Value::Bool(truth) => out.bool(*truth)?,
        Value::String(text) => out.str(text)?,
        Value::Number(number) => {
            if is_time(field) {
                out.tag(IanaTag::Timestamp)?;
                out.f64(number.as_f64().unwrap_or_default())?
            } else if REALS.contains(&field) || !(number.is_i64() || number.is_u64()) {
                out.f64(number.as_f64().unwrap_or_default())?
            } else {
                out.i64(number.as_i64().unwrap_or_default())?
            }
        }
        Value::Array(items) => {
            out.array(items.len() as u64)?;
            for item in items {
                write(out, item, field)?;
            }
            return Ok(());
        }
        Value::Object(fields) => {
            out.map(fields.len() as u64)?;
            for (name, value) in fields {
                out.str(name)?;
                // A map from names to reals hands its own name down.
                let field = if field == "ExtendedStatistics" { field } else { name };
                write(out, value, field)?;
            }
            return Ok(());
        }
    };
    Ok(())
}

fn is_time(field: &str) -> bool {
    ["Timestamp", "Timestamps", "Time", "LastModified"].iter().any(|end| field.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn times_get_their_tag_and_reals_stay_reals() {
        let bytes = from_json(&json!({"Datapoints": [{"Timestamp": 1_700_000_000, "Sum": 3}]}));
        let mut from = Decoder::new(&bytes);
        from.map().unwrap();
        from.str().unwrap();
        from.array().unwrap();
        from.map().unwrap();
        let mut seen = Vec::new();
        for _ in 0..2 {
            seen.push((from.str().unwrap().to_owned(), from.datatype().unwrap()));
            from.skip().unwrap();
        }
        assert!(seen.contains(&("Timestamp".into(), Type::Tag)), "{seen:?}");
        assert!(seen.contains(&("Sum".into(), Type::F64)), "{seen:?}");
    }

    #[test]
    fn an_endless_nesting_is_refused() {
        assert!(to_json(&[0x81; 10_000]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = to_json(&bytes);
        }

        #[test]
        fn text_and_numbers_survive_both_ways(name in "[A-Za-z]{1,8}", text in ".*", number in any::<i64>(), real in -1e9f64..1e9) {
            let value = json!({"a": {name: text}, "list": [number, true, null], "Value": real});
            prop_assert_eq!(to_json(&from_json(&value)).unwrap(), value);
        }
    }
}
