/* peer_asio_udp.cpp - Asio's datagram echo, one by one.   peer_asio_udp 127.0.0.1:7000 workers
 *
 * Waits until the socket is readable, then receives and sends without blocking until nothing is left, or for a while. With an
 * async_receive_from() for each datagram Asio would ask epoll after every one. */
#include "peer_asio.hpp"

using udp = asio::ip::udp;

enum { WHILE = 64 };

struct echo {
    asio::basic_datagram_socket<udp, executor> socket;
    udp::endpoint from;
    char buf[2048];

    echo(asio::io_context &io, const udp::endpoint &endpoint) : socket(io.get_executor(), endpoint)
    {
        socket.non_blocking(true);
        say_listening(socket.local_endpoint());
        wait();
    }

    void wait()
    {
        socket.async_wait(asio::socket_base::wait_read, [this](std::error_code err) {
            BENCH_CHECK(!err);
            for (int i = 0; i < WHILE && !err; i++) {
                size_t n = socket.receive_from(asio::buffer(buf), from, 0, err);
                if (!err)
                    return_to_sender(n);
            }
            BENCH_CHECK(!err || err == asio::error::would_block);
            wait();
        });
    }

    /* A full socket buffer is waited for: the datagram is not lost. */
    void return_to_sender(size_t size)
    {
        std::error_code err;
        socket.send_to(asio::buffer(buf, size), from, 0, err);
        if (err == asio::error::would_block) {
            socket.wait(asio::socket_base::wait_write);
            socket.send_to(asio::buffer(buf, size), from);
        }
    }
};

int main(int argc, char **argv)
{
    int workers = argc > 2 ? atoi(argv[2]) : 1;
    BENCH_CHECK(workers > 0);
    asio::io_context io(workers);
    echo e(io, endpoint_of<udp::endpoint>(argc > 1 ? argv[1] : "127.0.0.1:7000"));
    run(io, workers);
    return 0;
}
