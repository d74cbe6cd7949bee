//! Tokio's datagram echo, one by one.   peer_tokio_udp 127.0.0.1:7000 workers
#[allow(dead_code)] // it serves connections, too
mod server;

use tokio::net::UdpSocket;

async fn echo() {
    let socket = UdpSocket::bind(server::address()).await.expect("the address");
    println!("listening on {}", socket.local_addr().expect("its address"));
    let mut buf = [0; 2048];
    loop {
        let (n, from) = socket.recv_from(&mut buf).await.expect("a datagram");
        socket.send_to(&buf[..n], from).await.expect("sent");
    }
}

fn main() {
    server::runtime().block_on(async { tokio::spawn(echo()).await.expect("goes on") });
}
