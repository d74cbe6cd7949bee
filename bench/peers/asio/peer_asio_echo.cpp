/* peer_asio_echo.cpp - Asio's echo server.   peer_asio_echo 127.0.0.1:7000 workers */
#include "peer_asio.hpp"

struct session {
    tcp_socket socket;
    char buf[2048];

    explicit session(tcp_socket &&s) : socket(std::move(s)) {}

    void start()
    {
        socket.async_read_some(asio::buffer(buf), [this](std::error_code err, size_t n) {
            if (err)
                delete this;
            else
                answer(n);
        });
    }

    void answer(size_t size)
    {
        asio::async_write(socket, asio::buffer(buf, size), [this](std::error_code err, size_t) {
            if (err)
                delete this;
            else
                start();
        });
    }
};

int main(int argc, char **argv) { return peer_main<session>(argc, argv); }
