//! gRPC over containerd's socket, as far as calls with one request and one answer need it: HTTP/2
//! with a message in the body and the outcome in the trailers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on must say so"
)]

use crate::messages::Call;
use http::{HeaderMap, Request};
use prost::Message;
use prost::bytes::{BufMut, Bytes, BytesMut};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;

/// Longer than anything that containerd itself waits for.
const DEADLINE: Duration = Duration::from_secs(60);

/// Before each message: not compressed, and its length in four bytes.
const PREFIX_BYTES: usize = 5;

/// What a call that failed says.
#[derive(Debug, PartialEq, Eq)]
pub struct Status {
    /// gRPC's number; 2 is `UNKNOWN`, which containerd gives a runtime's errors.
    pub code: u32,
    pub message: String,
}

pub struct Client {
    socket: PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl Client {
    pub fn new(socket: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { socket: socket.to_owned(), runtime }
    }

    /// One call of a daemon that must answer.
    #[track_caller]
    pub fn call<Q: Call>(&self, request: &Q) -> Result<Q::Answer, Status> {
        self.try_call(request).unwrap_or_else(|error| panic!("{}: {error}", Q::PROCEDURE))
    }

    /// One call, on a connection of its own: the daemon may have been restarted in between. `Err`
    /// if it cannot be talked to.
    pub fn try_call<Q: Call>(&self, request: &Q) -> Result<Result<Q::Answer, Status>, Broken> {
        let answer = self.runtime.block_on(async {
            let exchange = exchange::<Q>(&self.socket, request);
            tokio::time::timeout(DEADLINE, exchange).await
        });
        match answer?? {
            Ok(message) => Ok(Ok(Q::Answer::decode(message)?)),
            Err(status) => Ok(Err(status)),
        }
    }
}

pub type Broken = Box<dyn std::error::Error>;

/// The bytes of the answer, or containerd's refusal; `Err` if it cannot be talked to.
async fn exchange<Q: Call>(socket: &Path, request: &Q) -> Result<Result<Bytes, Status>, Broken> {
    let message = request.encode_to_vec();
    let (client, connection) = h2::client::handshake(UnixStream::connect(socket).await?).await?;
    let driver = tokio::spawn(connection);
    let mut client = client.ready().await?;
    let request =
        Request::post(format!("http://localhost/runtime.v1.{}/{}", Q::SERVICE, Q::PROCEDURE))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
    let (response, mut body) = client.send_request(request, false)?;
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len())?);
    framed.put_slice(&message);
    body.send_data(framed.freeze(), true)?;

    let response = response.await?;
    let headers = response.headers().clone();
    let mut body = response.into_body();
    let mut received = BytesMut::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        received.extend_from_slice(&chunk);
    }
    // An answer without a body has the outcome in its headers.
    let trailers = body.trailers().await?.unwrap_or(headers);
    driver.abort();
    let status = status(&trailers)?;
    if status.code != 0 {
        return Ok(Err(status));
    }
    let (prefix, message) =
        received.split_first_chunk::<PREFIX_BYTES>().ok_or("the answer has no message")?;
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
    if prefix[0] != 0 || usize::try_from(length)? != message.len() {
        return Err("the answer is not one uncompressed message".into());
    }
    Ok(Ok(Bytes::copy_from_slice(message)))
}

fn status(headers: &HeaderMap) -> Result<Status, Broken> {
    let code = headers.get("grpc-status").ok_or("the answer has no grpc-status")?;
    let message = headers.get("grpc-message").map_or(&b""[..], |value| value.as_bytes());
    Ok(Status { code: code.to_str()?.parse()?, message: percent_decoded(message) })
}

/// gRPC spells control characters, `%` and what is not ASCII as `%XX`.
fn percent_decoded(text: &[u8]) -> String {
    let mut decoded = Vec::new();
    let mut rest = text;
    while let [first, after @ ..] = rest {
        let escape = after.get(..2).filter(|_| *first == b'%');
        let byte = escape.and_then(|hex| std::str::from_utf8(hex).ok());
        match byte.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                rest = &after[2..];
            }
            None => {
                decoded.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[test]
fn a_status_is_read_as_it_was_meant() {
    let mut headers = HeaderMap::new();
    assert!(status(&headers).is_err());
    headers.insert("grpc-status", "2".parse().unwrap());
    headers.insert("grpc-message", "50%25 of a%C3%A4%0A, 5%".parse().unwrap());
    let expected = Status { code: 2, message: "50% of aä\n, 5%".to_owned() };
    assert_eq!(status(&headers).unwrap(), expected);
}
