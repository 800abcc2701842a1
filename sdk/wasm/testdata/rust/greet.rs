//! A whole plugin in Rust, without dependencies. Build it with
//!
//!     rustc --edition 2021 -O -C strip=symbols --target wasm32-wasip1 greet.rs
//!
//! (before Rust 1.78 the target's name is wasm32-wasi), check it with
//! `nagatha plugins check greet.wasm`, and let the runtime have it with
//!
//!     plugin "rust" {
//!       wasm = "greet.wasm"
//!       config { greeting = "Hello" }
//!       grant { store = true }
//!     }

mod json;
mod nagatha;

use json::Json;
use nagatha::{Error, Host, Plugin, Task};
use std::time::Duration;

struct Greeter {
    greeting: String,
}

impl Plugin for Greeter {
    const INFO: &'static str = r#"{
        "name": "rust", "version": "1", "description": "Greets people, and counts their visits.",
        "capabilities": ["store"],
        "config_schema": {"type": "object", "properties": {"greeting": {"type": "string"}}, "additionalProperties": false},
        "handlers": [{
            "kind": "rust.greet", "description": "Greets somebody.", "read_only": true, "example": {"name": "Ann"},
            "payload_schema": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
            "result_schema": {"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}}
        }, {
            "kind": "rust.visit", "description": "Shows somebody around, and counts the visit.", "timeout": "10m",
            "example": {"name": "Ann", "rooms": 3},
            "payload_schema": {"type": "object", "required": ["name"], "properties": {
                "name": {"type": "string"}, "rooms": {"type": "integer", "minimum": 0}}},
            "result_schema": {"type": "object", "required": ["visits"], "properties": {"visits": {"type": "integer"}}}
        }]
    }"#;

    fn configure(&mut self, config: &Json) -> Result<(), Error> {
        self.greeting = config.get("greeting").text().unwrap_or("Hello").to_string();
        Ok(())
    }

    fn handle(&mut self, task: &Task, host: &mut Host) -> Result<Json, Error> {
        match task.kind.as_str() {
            "rust.greet" => {
                let text = format!("{}, {}", self.greeting, name(task)?);
                Ok(Json::object([("text", text.into())]))
            }
            "rust.visit" => visit(name(task)?, task, host),
            kind => Err(Error::new("plugin_protocol", &format!("this plugin has no kind {kind}"), false)),
        }
    }
}

fn name(task: &Task) -> Result<&str, Error> {
    match task.payload.get("name").text() {
        Some(name) if !name.is_empty() => Ok(name),
        // Not retryable: the payload will be the same the next time.
        _ => Err(Error::new("no_name", "want a name", false)),
    }
}

/// A task that takes a while: it tells how far it is, can be cancelled in each wait and
/// each call, and keeps a number in the plugin's store.
fn visit(name: &str, task: &Task, host: &mut Host) -> Result<Json, Error> {
    let rooms = task.payload.get("rooms").whole().unwrap_or(1);
    host.log("a visit", &Json::object([("name", name.into()), ("attempt", task.attempt.into())]));
    for room in 1..=rooms {
        host.sleep(Duration::from_millis(100))?;
        host.progress(room, rooms, &format!("room {room}"));
    }
    let key = format!("visits/{name}");
    let item = host.call("kv.get", &Json::object([("key", key.as_str().into())]))?;
    let item = item.get("item");
    let visits = item.get("value").whole().unwrap_or(0) + 1;
    // if_version: two visits at the same time are two. The second one's error is a conflict,
    // and it is tried again.
    let version = item.get("version").whole().unwrap_or(0);
    let set = Json::object([("key", key.into()), ("value", visits.into()), ("if_version", version.into())]);
    host.call("kv.set", &set).map_err(|e| Error { retryable: e.retryable || e.code == "conflict", ..e })?;
    Ok(Json::object([("visits", visits.into())]))
}

fn main() {
    nagatha::serve(Greeter { greeting: "Hello".to_string() });
}
