//! server - what Tokio's servers share: the arguments ADDRESS [WORKERS], the runtime, a listener, and a task for each connection.
//!
//! One worker is the runtime of the current thread, which is Tokio's fastest for that; more are worker_threads. SIGTERM ends a server.
use std::env;
use std::future::Future;
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};

pub fn address() -> std::net::SocketAddr {
    let text = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7000".into());
    text.parse().expect("an address")
}

pub fn runtime() -> Runtime {
    let workers = env::args().nth(2).map_or(1, |text| text.parse().expect("a number of workers"));
    let runtime = match workers {
        1 => Builder::new_current_thread().enable_io().build(),
        n => Builder::new_multi_thread().worker_threads(n).enable_io().build(),
    };
    runtime.expect("a runtime")
}

fn raise_nofile() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
    }
}

async fn accept_all<F, T>(handle: F)
where
    F: Fn(TcpStream) -> T,
    T: Future<Output = ()> + Send + 'static,
{
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("SO_REUSEADDR");
    socket.bind(address()).expect("the address");
    let listener = socket.listen(4096).expect("a listener");
    println!("listening on {}", listener.local_addr().expect("its address"));
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        if stream.set_nodelay(true).is_ok() {
            tokio::spawn(handle(stream));
        }
    }
}

/// The whole of a main(). Accepting is a task too: the thread of block_on() is none of the workers.
pub fn serve<F, T>(handle: F)
where
    F: Fn(TcpStream) -> T + Send + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    raise_nofile();
    let runtime = runtime();
    runtime.block_on(async { tokio::spawn(accept_all(handle)).await.expect("accepting goes on") });
}
