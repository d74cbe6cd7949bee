//! Tokio's echo server.   peer_tokio_echo 127.0.0.1:7000 workers
mod server;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn echo(mut stream: TcpStream) {
    let mut buf = [0; 2048];
    while let Ok(n @ 1..) = stream.read(&mut buf).await {
        if stream.write_all(&buf[..n]).await.is_err() {
            break;
        }
    }
}

fn main() {
    server::serve(echo);
}
