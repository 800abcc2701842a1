//! The conversation with the runtime, in its JSON form: nagatha.proto says what the
//! messages are. A plugin implements [`Plugin`] and calls [`serve`] in its main.
//!
//! A handler runs to its end before the next one begins. The runtime starts as many
//! instances of the module as it has tasks for (`limits.instances`), so that tasks run
//! side by side all the same.

use crate::json::{base64, Json};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

mod abi {
    #[link(wasm_import_module = "nagatha_v1")]
    extern "C" {
        pub fn recv(buffer: *mut u8, capacity: usize, timeout_ms: i32) -> i32;
        pub fn send(message: *const u8, length: usize);
    }
}

pub trait Plugin {
    /// The manifest: what `info` is in docs/plugins.md, as JSON.
    const INFO: &'static str;
    /// Takes the config block of config.hcl, which fits the manifest's config_schema.
    fn configure(&mut self, config: &Json) -> Result<(), Error>;
    fn handle(&mut self, task: &Task, host: &mut Host) -> Result<Json, Error>;
}

pub struct Task {
    #[allow(dead_code)] // the greeter does not ask
    pub id: String,
    pub kind: String,
    pub payload: Json,
    pub attempt: u64, // from 1
}

/// What fails a task, or a call. With `retryable` the task is tried again.
#[derive(Debug)]
pub struct Error {
    pub code: String,
    pub message: String,
    pub retryable: bool,
}

impl Error {
    pub fn new(code: &str, message: &str, retryable: bool) -> Error {
        Error { code: code.to_string(), message: message.to_string(), retryable }
    }
}

/// Answers the runtime until it wants the plugin to leave.
pub fn serve<P: Plugin>(mut plugin: P) {
    send(&format!(r#"{{"manifest":{{"version":1,"info":{}}}}}"#, P::INFO));
    let mut inbox = Inbox { buffer: vec![0; 4096], tasks: VecDeque::new(), cancelled: Vec::new() };
    loop {
        let message = match inbox.tasks.pop_front() {
            Some(task) => task,
            None => match inbox.next(None) {
                Next::Message(message) => message,
                Next::Nothing => continue,
                Next::Leave => return,
            },
        };
        let task = message.get("task");
        if message.get("configure") != &Json::Null {
            let answer = plugin.configure(message.get("configure").get("config"));
            result(0, answer.map(|()| Json::Null));
        } else if let Some(run) = task.get("run").whole() {
            let task = Task {
                id: task.get("id").text().unwrap_or_default().to_string(),
                kind: task.get("kind").text().unwrap_or_default().to_string(),
                payload: task.get("payload").clone(),
                attempt: task.get("attempt").whole().unwrap_or(1),
            };
            let answer = plugin.handle(&task, &mut Host { inbox: &mut inbox, run, calls: 0 });
            inbox.cancelled.retain(|other| *other != run);
            result(run, answer);
        }
    }
}

/// What a handler can ask and tell the runtime.
pub struct Host<'a> {
    inbox: &'a mut Inbox,
    run: u64,
    calls: u64,
}

impl Host<'_> {
    pub fn progress(&mut self, done: u64, total: u64, message: &str) {
        let (run, message) = (self.run, Json::from(message));
        send(&format!(r#"{{"progress":{{"run":{run},"progress":{done},"total":{total},"message":{message}}}}}"#));
    }

    /// Writes a line of level info; attrs is an object.
    pub fn log(&mut self, message: &str, attrs: &Json) {
        let (run, message) = (self.run, Json::from(message));
        send(&format!(r#"{{"log":{{"run":{run},"level":0,"message":{message},"attrs":{attrs}}}}}"#));
    }

    /// Performs an operation of the runtime, such as kv.get, and waits for its reply.
    pub fn call(&mut self, op: &str, request: &Json) -> Result<Json, Error> {
        self.calls += 1;
        let (run, call) = (self.run, self.calls);
        send(&format!(r#"{{"call":{{"run":{run},"call":{call},"op":{},"payload":{request}}}}}"#, Json::from(op)));
        loop {
            let message = self.listen(None)?;
            let reply = message.get("reply");
            if reply.get("run").whole() != Some(run) || reply.get("call").whole() != Some(call) {
                continue; // of a call that a cancel has cut short
            }
            let error = reply.get("error");
            if let Some(code) = error.get("code").text() {
                return Err(Error::new(code, error.get("message").text().unwrap_or_default(), error.get("retryable").bool()));
            }
            // The only JSON that is wrapped: a reply may be of any bytes.
            let bytes = reply.get("payload").text().and_then(base64).unwrap_or_default();
            let text = String::from_utf8(bytes).unwrap_or_default();
            return if text.is_empty() { Ok(Json::Null) } else { Json::parse(&text).map_err(|e| Error::new("plugin_protocol", &e, false)) };
        }
    }

    /// Waits, but no longer than until the task is cancelled, which is its error.
    pub fn sleep(&mut self, time: Duration) -> Result<(), Error> {
        let end = Instant::now() + time;
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            self.listen(Some(end - now))?;
        }
    }

    /// Takes one message, or null when the time is over.
    fn listen(&mut self, time: Option<Duration>) -> Result<Json, Error> {
        if !self.inbox.cancelled.contains(&self.run) {
            match self.inbox.next(time) {
                Next::Message(message) if message.get("task") != &Json::Null => self.inbox.tasks.push_back(message),
                Next::Message(message) => match message.get("cancel").get("run").whole() {
                    Some(run) if run == self.run || self.inbox.waits(run) => self.inbox.cancelled.push(run),
                    Some(_) => {} // it has ended
                    None => return Ok(message),
                },
                Next::Nothing => {}
                Next::Leave => return Err(Error::new("unavailable", "the plugin is being shut down", true)),
            }
        }
        if self.inbox.cancelled.contains(&self.run) {
            return Err(Error::new("cancelled", "the task was cancelled", false));
        }
        Ok(Json::Null)
    }
}

struct Inbox {
    buffer: Vec<u8>,
    tasks: VecDeque<Json>, // that came while a handler ran; there are some with limits.concurrency > 1
    cancelled: Vec<u64>,   // runs
}

enum Next {
    Message(Json),
    Nothing, // in time
    Leave,
}

impl Inbox {
    fn waits(&self, run: u64) -> bool {
        self.tasks.iter().any(|message| message.get("task").get("run").whole() == Some(run))
    }

    fn next(&mut self, time: Option<Duration>) -> Next {
        // Rounded up: with 0 a wait of less than a millisecond would be a loop.
        let timeout = time.map_or(-1, |t| (t.as_millis() + 1).min(i32::MAX as u128) as i32);
        loop {
            let length = unsafe { abi::recv(self.buffer.as_mut_ptr(), self.buffer.len(), timeout) };
            match length {
                length if length < 0 => return Next::Leave,
                0 => return Next::Nothing,
                length if length as usize > self.buffer.len() => self.buffer.resize(length as usize, 0), // nothing was copied
                length => {
                    let text = std::str::from_utf8(&self.buffer[..length as usize]).expect("a message in UTF-8");
                    return Next::Message(Json::parse(text).expect("a message in JSON"));
                }
            }
        }
    }
}

fn result(run: u64, answer: Result<Json, Error>) {
    match answer {
        Ok(payload) => send(&format!(r#"{{"result":{{"run":{run},"payload":{payload}}}}}"#)),
        Err(e) => send(&format!(
            r#"{{"result":{{"run":{run},"error":{{"code":{},"message":{},"retryable":{}}}}}}}"#,
            Json::from(e.code),
            Json::from(e.message),
            e.retryable
        )),
    }
}

fn send(message: &str) {
    unsafe { abi::send(message.as_ptr(), message.len()) }
}
