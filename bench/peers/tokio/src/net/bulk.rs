//! Tokio's server that reads and discards.   peer_tokio_bulk 127.0.0.1:7000 workers
mod server;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

async fn discard(mut stream: TcpStream) {
    let mut buf = vec![0; 65536];
    while let Ok(1..) = stream.read(&mut buf).await {}
}

fn main() {
    server::serve(discard);
}
