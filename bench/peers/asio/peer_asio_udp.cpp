/* peer_asio_udp.cpp - Asio's datagram echo, one by one.   peer_asio_udp 127.0.0.1:7000 workers
 *
 * A send is tried at once (the socket does not block), and awaited only if it would have to wait: Asio's own would go through the queue of
 * completions every time. */
#include "peer_asio.hpp"

using udp = asio::ip::udp;

struct echo {
    asio::basic_datagram_socket<udp, executor> socket;
    udp::endpoint from;
    char buf[2048];

    echo(asio::io_context &io, const udp::endpoint &endpoint) : socket(io.get_executor(), endpoint)
    {
        socket.non_blocking(true);
        say_listening(socket.local_endpoint());
        receive();
    }

    void receive()
    {
        socket.async_receive_from(asio::buffer(buf), from, [this](std::error_code err, size_t n) {
            BENCH_CHECK(!err);
            answer(n);
        });
    }

    void answer(size_t size)
    {
        std::error_code err;
        socket.send_to(asio::buffer(buf, size), from, 0, err);
        if (err != asio::error::would_block)
            return receive();
        socket.async_send_to(asio::buffer(buf, size), from, [this](std::error_code failed, size_t) {
            BENCH_CHECK(!failed);
            receive();
        });
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
