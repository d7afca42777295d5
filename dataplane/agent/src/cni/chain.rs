//! The node's CNI configuration with our plugin at the end of the chain. Pure.
use serde_json::{Map, Value, json};
use tulle_cni_protocol::PLUGIN_TYPE;

/// How our file is called where that sorts first.
const FILE_NAME: &str = "00-tulle.conflist";
/// How every file name of ours ends.
const SUFFIX: &str = "tulle.conflist";
/// What the container runtime takes for configuration.
const EXTENSIONS: [&str; 3] = [".conf", ".conflist", ".json"];

#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    #[error("it is not JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("it is not a CNI configuration: {0}")]
    Shape(&'static str),
}

/// The original configuration (a list, or a single plugin) as a list that
/// ends with our plugin: same name, same version, everything else as it was.
pub fn chain(original: &str, run_dir: &str) -> Result<String, ChainError> {
    let Value::Object(original) = serde_json::from_str(original)? else {
        return Err(ChainError::Shape("not an object"));
    };
    if original
        .get("name")
        .and_then(Value::as_str)
        .is_none_or(str::is_empty)
    {
        return Err(ChainError::Shape("no name"));
    }
    let mut list = if original.contains_key("plugins") {
        original
    } else {
        single_as_list(original)?
    };
    let plugins = list
        .get_mut("plugins")
        .and_then(Value::as_array_mut)
        .ok_or(ChainError::Shape("plugins is not a list"))?;
    if plugins.is_empty() {
        return Err(ChainError::Shape("no plugins"));
    }
    plugins.retain(|plugin| !is_ours(plugin));
    plugins.push(json!({ "type": PLUGIN_TYPE, "runDir": run_dir }));
    let mut text = serde_json::to_string_pretty(&Value::Object(list))?;
    text.push('\n');
    Ok(text)
}

fn single_as_list(plugin: Map<String, Value>) -> Result<Map<String, Value>, ChainError> {
    if !plugin.get("type").is_some_and(Value::is_string) {
        return Err(ChainError::Shape("neither plugins nor a type"));
    }
    let mut list = Map::new();
    for key in ["cniVersion", "name"] {
        if let Some(value) = plugin.get(key) {
            list.insert(key.to_owned(), value.clone());
        }
    }
    list.insert(
        "plugins".to_owned(),
        Value::Array(vec![Value::Object(plugin)]),
    );
    Ok(list)
}

/// Whether a configuration's text is one of ours.
pub fn is_own(text: &str) -> bool {
    serde_json::from_str::<Value>(text)
        .ok()
        .and_then(|list| list.get("plugins")?.as_array()?.last().map(is_ours))
        .unwrap_or(false)
}

fn is_ours(plugin: &Value) -> bool {
    plugin.get("type").and_then(Value::as_str) == Some(PLUGIN_TYPE)
}

/// Whether a file's name says that it may be ours.
pub fn has_own_name(name: &str) -> bool {
    name.ends_with(SUFFIX)
}

/// The configuration the runtime would use without us: the first by name.
pub fn original<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    names
        .into_iter()
        .filter(|name| {
            EXTENSIONS.iter().any(|extension| name.ends_with(extension)) && !has_own_name(name)
        })
        .min()
}

/// A name for our file that sorts before `original`; `None` where no name can.
pub fn own_file_name(original: &str) -> Option<String> {
    // '!' is the first printable character after the space.
    let candidates = std::iter::once(FILE_NAME.to_owned())
        .chain(
            ["0-", "0", "!"]
                .iter()
                .map(|start| format!("{start}{SUFFIX}")),
        )
        .chain((2..=8).map(|times| format!("{}{SUFFIX}", "!".repeat(times))));
    candidates.into_iter().find(|name| name.as_str() < original)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BRIDGE: &str = r#"{
      "cniVersion": "1.0.0", "name": "pods", "disableCheck": true,
      "plugins": [
        { "type": "bridge", "bridge": "cni0", "ipam": { "type": "host-local" } },
        { "type": "portmap", "capabilities": { "portMappings": true } }
      ]
    }"#;

    fn parsed(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_list_gets_our_plugin_at_its_end_and_keeps_everything_else() {
        let chained = parsed(&chain(BRIDGE, "/run/tulle").unwrap());
        let mut expected = parsed(BRIDGE);
        expected["plugins"]
            .as_array_mut()
            .unwrap()
            .push(json!({ "type": "tulle-cni", "runDir": "/run/tulle" }));
        assert_eq!(chained, expected);
    }

    #[test]
    fn a_single_plugin_becomes_a_list_of_two() {
        let single = r#"{ "cniVersion": "0.3.1", "name": "flat", "type": "ptp", "mtu": 1450 }"#;
        let chained = parsed(&chain(single, "/run/tulle").unwrap());
        assert_eq!(chained["name"], "flat");
        assert_eq!(chained["cniVersion"], "0.3.1");
        assert_eq!(chained["plugins"][0], parsed(single));
        assert_eq!(chained["plugins"][1]["type"], "tulle-cni");
    }

    #[test]
    fn chaining_twice_is_chaining_once() {
        let once = chain(BRIDGE, "/run/tulle").unwrap();
        assert_eq!(chain(&once, "/run/tulle").unwrap(), once);
        assert!(is_own(&once) && !is_own(BRIDGE));
    }

    #[test]
    fn what_is_no_configuration_is_named() {
        for text in [
            "",
            "[]",
            "{}",
            r#"{"name":""}"#,
            r#"{"name":"x"}"#,
            r#"{"name":"x","plugins":{}}"#,
            r#"{"name":"x","plugins":[]}"#,
        ] {
            assert!(chain(text, "/run/tulle").is_err(), "{text}");
        }
    }

    #[test]
    fn the_first_foreign_configuration_is_the_original() {
        let names = [
            "99-loopback.conf",
            "00-tulle.conflist",
            "10-bridge.conflist",
            "README",
            "05-x.conflist.bak",
        ];
        assert_eq!(original(names), Some("10-bridge.conflist"));
        assert_eq!(original(["00-tulle.conflist"]), None);
    }

    proptest! {
        #[test]
        fn our_name_sorts_before_any_ordinary_one(original in "[0-9a-zA-Z.-][0-9a-zA-Z._-]{0,20}\\.conf(list)?") {
            let own = own_file_name(&original);
            prop_assert!(own.is_some_and(|own| own < original && has_own_name(&own)));
        }
    }

    #[test]
    fn the_usual_name_is_taken_where_it_can_be() {
        assert_eq!(
            own_file_name("10-bridge.conflist").as_deref(),
            Some("00-tulle.conflist")
        );
        assert_eq!(
            own_file_name("00-calico.conflist").as_deref(),
            Some("0-tulle.conflist")
        );
        assert_eq!(own_file_name("!!!!!!!!!!x.conf"), None);
    }
}
