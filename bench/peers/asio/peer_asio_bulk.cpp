/* peer_asio_bulk.cpp - Asio's server that reads and discards.   peer_asio_bulk 127.0.0.1:7000 workers */
#include "peer_asio.hpp"

struct session {
    tcp_socket socket;
    char buf[65536];

    explicit session(tcp_socket &&s) : socket(std::move(s)) {}

    void start()
    {
        socket.async_read_some(asio::buffer(buf), [this](std::error_code err, size_t) {
            if (err)
                delete this;
            else
                start();
        });
    }
};

int main(int argc, char **argv) { return peer_main<session>(argc, argv); }
