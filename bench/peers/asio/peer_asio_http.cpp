/* peer_asio_http.cpp - Asio's HTTP server, which says hello to every request.   peer_asio_http 127.0.0.1:7000 workers */
#include "peer_asio.hpp"

#include "hello.h"

struct session {
    tcp_socket socket;
    http_parser parser;
    char buf[4096];

    explicit session(tcp_socket &&s) : socket(std::move(s)) { http_parser_init(&parser, HTTP_REQUEST); }

    void start()
    {
        socket.async_read_some(asio::buffer(buf), [this](std::error_code err, size_t n) {
            int requests = err ? -1 : hello_parse(&parser, buf, n);
            if (requests < 0)
                delete this;
            else
                answer(requests);
        });
    }

    void answer(int requests)
    {
        if (requests == 0)
            return start();
        asio::async_write(socket, asio::buffer(hello, HELLO_SIZE), [this, requests](std::error_code err, size_t) {
            if (err)
                delete this;
            else
                answer(requests - 1);
        });
    }
};

int main(int argc, char **argv) { return peer_main<session>(argc, argv); }
