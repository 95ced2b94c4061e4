//! The specs that we write, held against the schema of the CDI project: tests/fixtures/cdi.

use super::{Host, driver};
use crate::inventory::cdi::{Names, generate};
use crate::model::device::Vendor;
use std::fs;
use std::path::Path;

/// A schema of the CDI project, with the parts of JSON Schema that it uses.
fn conforms(
    value: &serde_json::Value,
    schema: &serde_json::Value,
    defs: &serde_json::Value,
) -> Result<(), String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap();
        return conforms(value, &defs["definitions"][name], defs);
    }
    let fits = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("boolean") => value.is_boolean(),
        _ => true,
    };
    if !fits {
        return Err(format!("{value} is no {}", schema["type"]));
    }
    for (key, allowed) in [("minimum", true), ("maximum", false)] {
        if let (Some(bound), Some(number)) = (schema[key].as_f64(), value.as_f64())
            && (number < bound) == allowed
            && number != bound
        {
            return Err(format!("{number} is beyond {bound}"));
        }
    }
    for required in schema["required"].as_array().into_iter().flatten() {
        if value.get(required.as_str().unwrap()).is_none() {
            return Err(format!("{required} is missing"));
        }
    }
    for (key, inner) in value.as_object().into_iter().flatten() {
        match (schema["properties"].get(key), schema["patternProperties"].get(".{1,}")) {
            (Some(schema), _) | (None, Some(schema)) => conforms(inner, schema, defs)?,
            (None, None) if schema["additionalProperties"] == false => {
                return Err(format!("`{key}` is unknown"));
            }
            (None, None) => {}
        }
    }
    for inner in value.as_array().into_iter().flatten() {
        conforms(inner, &schema["items"], defs)?;
    }
    let known = [
        "$ref",
        "$schema",
        "description",
        "type",
        "properties",
        "patternProperties",
        "additionalProperties",
        "required",
        "items",
        "minimum",
        "maximum",
        "definitions",
        "ref",
    ];
    let words = schema.as_object().into_iter().flatten();
    let unknown = words.map(|(key, _)| key).find(|key| !known.contains(&key.as_str()));
    match unknown {
        Some(word) => Err(format!("the schema uses `{word}`: teach it to this test")),
        None => Ok(()),
    }
}

#[test]
fn what_is_generated_conforms_to_the_projects_schema() {
    let read = |name: &str| -> serde_json::Value {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cdi");
        serde_json::from_str(&fs::read_to_string(dir.join(name)).unwrap()).unwrap()
    };
    let (schema, defs) = (read("schema.json"), read("defs.json"));
    // The schema has forgotten the edits that go with all devices.
    let whole = |value: &serde_json::Value| {
        conforms(value, &schema, &defs)?;
        conforms(&value["containerEdits"], &defs["definitions"]["containerEdits"], &defs)
    };
    let host = Host::new();
    let mut found = host.scan();
    found.drivers.push(driver());
    let names = Names { index: true, uuid: true };
    for vendor in [Vendor::Nvidia, Vendor::Amd] {
        let spec = generate(&found, vendor, names, &host.paths).unwrap();
        let value = serde_json::to_value(&spec).unwrap();
        whole(&value).unwrap();
        // And the check is one.
        for spoil in [
            |value: &mut serde_json::Value| value["kind"] = 1.into(),
            |value: &mut serde_json::Value| value["containerEdits"]["env"] = "A=1".into(),
            |value: &mut serde_json::Value| {
                value["devices"][0]["containerEdits"]["deviceNodes"][0]["gid"] = (-1).into()
            },
            |value: &mut serde_json::Value| {
                value["devices"][0].as_object_mut().unwrap().shift_remove("name");
            },
        ] {
            let mut bad = value.clone();
            spoil(&mut bad);
            whole(&bad).unwrap_err();
        }
    }
}
