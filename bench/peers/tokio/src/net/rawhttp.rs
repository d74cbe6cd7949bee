//! Tokio's raw HTTP server, which says hello to every "\r\n\r\n".   peer_tokio_rawhttp 127.0.0.1:7000 workers
//!
//! Raw because hyper is not among Debian's packages. Less than what the C and C++ servers do, which parse all of a request.
mod server;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const END: &[u8] = b"\r\n\r\n";
const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nhello\n";

/// Where the first request of these bytes ends.
fn end_of_request(bytes: &[u8]) -> Option<usize> {
    bytes.windows(END.len()).position(|four| four == END).map(|at| at + END.len())
}

async fn say_hello(mut stream: TcpStream) {
    let mut buf = [0; 4096];
    let mut have = 0;
    // A longer request is not for us: there is no room to read into, so nothing comes.
    while let Ok(n @ 1..) = stream.read(&mut buf[have..]).await {
        have += n;
        let mut done = 0;
        while let Some(size) = end_of_request(&buf[done..have]) {
            done += size;
            if stream.write_all(HELLO).await.is_err() {
                return;
            }
        }
        buf.copy_within(done..have, 0);
        have -= done;
    }
}

fn main() {
    server::serve(say_hello);
}
