//! A small HTTP server in threads: what it answers is a function.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// What a request is answered with.
pub(crate) enum Reply {
    /// A JSON-RPC result.
    Result(Value),
    /// A JSON-RPC error: code, message, data.
    Error(i64, String, Value),
    /// A status without a body.
    Status(u16),
    /// Anything with status 200.
    Raw(Vec<u8>),
    /// A body that is announced as longer than it is.
    CutOff,
    /// Nothing for this long, then the connection ends.
    Silence(Duration),
}

impl Reply {
    pub(crate) fn error(code: i64, message: &str) -> Self {
        Self::Error(code, message.into(), Value::Null)
    }
}

type Handler = Arc<dyn Fn(&str, &Value) -> Reply + Send + Sync>;

/// Listens until the process ends; gives its address.
pub(crate) fn serve(handler: impl Fn(&str, &Value) -> Reply + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let handler: Handler = Arc::new(handler);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let handler = Arc::clone(&handler);
            thread::spawn(move || drop(connection(stream, &handler)));
        }
    });
    url
}

fn connection(stream: TcpStream, handler: &Handler) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim().to_ascii_lowercase();
            if let Some(n) = line.strip_prefix("content-length:") {
                length = n.trim().parse().unwrap();
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let request: Value = serde_json::from_slice(&body).unwrap();
        let answer = |mut fields: Value| {
            fields["jsonrpc"] = json!("2.0");
            fields["id"] = request["id"].clone();
            fields.to_string().into_bytes()
        };
        match handler(request["method"].as_str().unwrap(), &request["params"]) {
            Reply::Result(result) => respond(&mut writer, 200, &answer(json!({"result": result})), 0)?,
            Reply::Error(code, message, data) => {
                let error = json!({"code": code, "message": message, "data": data});
                respond(&mut writer, 200, &answer(json!({"error": error})), 0)?;
            }
            Reply::Status(status) => respond(&mut writer, status, b"", 0)?,
            Reply::Raw(body) => respond(&mut writer, 200, &body, 0)?,
            Reply::CutOff => return respond(&mut writer, 200, b"{\"jsonrpc\"", 100),
            Reply::Silence(time) => {
                thread::sleep(time);
                return Ok(());
            }
        }
    }
}

fn respond(writer: &mut TcpStream, status: u16, body: &[u8], missing: usize) -> std::io::Result<()> {
    let length = body.len() + missing;
    let head =
        format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n");
    writer.write_all(&[head.as_bytes(), body].concat())
}
