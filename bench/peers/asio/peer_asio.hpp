/* peer_asio.hpp - what Asio's servers share: an io_context that all workers run, an acceptor, and sessions that own themselves.
 *
 * Asynchronous callbacks on the concrete executor (any_io_executor costs an indirect call each), a concurrency hint for one thread. A session
 * has one operation under way at a time, so it needs no strand. SIGTERM ends the server. */
#ifndef PEER_ASIO_HPP
#define PEER_ASIO_HPP

#include "bench.h"

#include <asio.hpp>
#include <string>
#include <thread>
#include <vector>

using tcp = asio::ip::tcp;
using executor = asio::io_context::executor_type;
using tcp_socket = asio::basic_stream_socket<tcp, executor>;
using tcp_acceptor = asio::basic_socket_acceptor<tcp, executor>;

/* "127.0.0.1:7000" */
template <class Endpoint> Endpoint endpoint_of(const std::string &text)
{
    auto colon = text.rfind(':');
    BENCH_CHECK(colon != std::string::npos);
    return {asio::ip::make_address(text.substr(0, colon)), (unsigned short)std::stoi(text.substr(colon + 1))};
}

template <class Endpoint> void say_listening(const Endpoint &endpoint)
{
    printf("listening on %s:%u\n", endpoint.address().to_string().c_str(), endpoint.port());
    fflush(stdout);
}

/* Accepts for ever. A Session is made with the socket and starts itself by start(). */
template <class Session> struct server {
    tcp_acceptor acceptor;

    server(asio::io_context &io, const tcp::endpoint &endpoint) : acceptor(io.get_executor())
    {
        acceptor.open(endpoint.protocol());
        acceptor.set_option(tcp_acceptor::reuse_address(true));
        acceptor.set_option(tcp::no_delay(true)); /* what it accepts inherits this */
        acceptor.bind(endpoint);
        acceptor.listen(4096);
        say_listening(acceptor.local_endpoint());
        accept();
    }

    void accept()
    {
        acceptor.async_accept([this](std::error_code err, tcp_socket socket) {
            if (!err)
                (new Session(std::move(socket)))->start();
            accept();
        });
    }
};

static inline void run(asio::io_context &io, int workers)
{
    std::vector<std::thread> others;
    for (int i = 1; i < workers; i++)
        others.emplace_back([&io] { io.run(); });
    io.run();
    for (auto &thread : others)
        thread.join();
}

/* The whole of a main(): @argv has the address and the number of workers. */
template <class Session> int peer_main(int argc, char **argv)
{
    int workers = argc > 2 ? atoi(argv[2]) : 1;
    BENCH_CHECK(workers > 0);
    bench_raise_nofile();
    asio::io_context io(workers);
    server<Session> s(io, endpoint_of<tcp::endpoint>(argc > 1 ? argv[1] : "127.0.0.1:7000"));
    run(io, workers);
    return 0;
}

#endif
