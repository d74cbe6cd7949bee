/* peer_asio_micro.cpp - Asio's side of the works: yield, spawn_join, million, pingpong, mpsc, timers, cold.   peer_asio_micro WORK [WORKERS]
 *
 * WORKERS threads run one io_context; for one, with the hint that it stays alone. What runs and is waited for is a coroutine of C++20, as Asio's manual
 * has it for tasks: co_spawn, use_awaitable on the concrete executor (any_io_executor costs an indirect call each). A yield is a handler that posts
 * itself. Many are joined by counting them in the completion handlers; a million bare handlers, which can neither wait nor be joined, stand beside the
 * million tasks. Channels are asio::experimental's, with a lock only where there are two threads. */
#include "bench.h"
#include "timers_plan.h"

#include <asio.hpp>
#include <asio/experimental/channel.hpp>
#include <asio/experimental/concurrent_channel.hpp>
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

using executor = asio::io_context::executor_type;
template <class T> using task = asio::awaitable<T, executor>;
static constexpr asio::use_awaitable_t<executor> use_task;

static int workers;

/* Run the work that @begin starts, on all workers, until nothing is left to do. Returns the nanoseconds. */
template <class Begin> static double run(Begin begin)
{
    asio::io_context io(workers);
    std::vector<std::thread> threads;
    int64_t start = bench_now();
    begin(io.get_executor());
    for (int i = 1; i < workers; i++)
        threads.emplace_back([&io] { io.run(); });
    io.run();
    for (auto &thread : threads)
        thread.join();
    return (double)(bench_now() - start);
}

static void measure(const char *name, const char *unit, int rounds, double (*round)(void *))
{
    bench_measure((name + ("_w" + std::to_string(workers))).c_str(), unit, rounds, round, nullptr);
}

/* What went wrong in a coroutine must not stay there. */
static void check(std::exception_ptr failure) { BENCH_CHECK(!failure); }

/* ---- yield ----------------------------------------------------------------------------------------------------- */

static constexpr int YIELDS = 1000000;

struct yielder {
    executor on;
    int left;

    void operator()()
    {
        if (--left > 0)
            asio::post(on, *this);
    }
};

static double yield_one_round(void *)
{
    return run([](executor on) { asio::post(on, yielder{on, YIELDS}); }) / YIELDS;
}

static double yield_two_round(void *)
{
    return run([](executor on) {
               asio::post(on, yielder{on, YIELDS});
               asio::post(on, yielder{on, YIELDS});
           }) /
           (2.0 * YIELDS);
}

static void yield()
{
    measure("yield_one", "ns/yield", 11, yield_one_round);
    measure("yield_two", "ns/yield", 11, yield_two_round);
}

/* ---- spawn and join -------------------------------------------------------------------------------------------- */

static constexpr int ONES = 300000, MANY = 1000000;

static task<void> nothing() { co_return; }

static task<void> one_by_one(executor on)
{
    for (int i = 0; i < ONES; i++)
        co_await asio::co_spawn(on, nothing(), use_task);
}

static double spawn_join_round(void *)
{
    return run([](executor on) { asio::co_spawn(on, one_by_one(on), check); }) / ONES;
}

static std::atomic<int> ended;

static void count(std::exception_ptr failure)
{
    check(failure);
    ended.fetch_add(1, std::memory_order_relaxed);
}

/* Nanoseconds per task. */
template <class Spawn> static double all_at_once(Spawn spawn)
{
    ended = 0;
    double took = run([spawn](executor on) {
        asio::post(on, [on, spawn] {
            for (int i = 0; i < MANY; i++)
                spawn(on);
        });
    });
    BENCH_CHECK(ended == MANY);
    return took / MANY;
}

static double million_round(void *)
{
    return all_at_once([](executor on) { asio::co_spawn(on, nothing(), count); });
}

static double handlers_round(void *)
{
    return all_at_once([](executor on) { asio::post(on, [] { count(nullptr); }); });
}

static void million()
{
    measure("million", "ns/task", 7, million_round);
    printf("million_peak_w%d %.2f MiB\n", workers, bench_memory("VmHWM") / (1 << 20));
    measure("million_handlers", "ns/handler", 7, handlers_round);
}

static void spawn_join() { measure("spawn_join", "ns/task", 11, spawn_join_round); }

/* ---- channels -------------------------------------------------------------------------------------------------- */

static constexpr int TRIPS = 300000, SENDERS = 4, MESSAGES = 250000 /* each */, CAPACITY = 1024;

using message = void(std::error_code, uint64_t);
using channel = asio::experimental::channel<executor, message>;
using shared_channel = asio::experimental::concurrent_channel<executor, message>;

template <class C> static task<void> serve_ball(C &there, C &back)
{
    for (uint64_t i = 0; i < TRIPS; i++) {
        co_await there.async_send(std::error_code(), i, use_task);
        BENCH_CHECK(co_await back.async_receive(use_task) == i);
    }
}

template <class C> static task<void> return_ball(C &there, C &back)
{
    for (int i = 0; i < TRIPS; i++) {
        uint64_t ball = co_await there.async_receive(use_task);
        co_await back.async_send(std::error_code(), ball, use_task);
    }
}

template <class C> static double pingpong_round(void *)
{
    std::unique_ptr<C> there, back;
    return run([&](executor on) {
               there = std::make_unique<C>(on, 1);
               back = std::make_unique<C>(on, 1);
               asio::co_spawn(on, return_ball(*there, *back), check);
               asio::co_spawn(on, serve_ball(*there, *back), check);
           }) /
           TRIPS;
}

template <class C> static task<void> send_many(C &to)
{
    for (uint64_t i = 0; i < MESSAGES; i++)
        co_await to.async_send(std::error_code(), i, use_task);
}

template <class C> static task<void> receive_all(C &from)
{
    uint64_t sum = 0;
    for (int i = 0; i < SENDERS * MESSAGES; i++)
        sum += co_await from.async_receive(use_task);
    BENCH_CHECK(sum == (uint64_t)SENDERS * MESSAGES * (MESSAGES - 1) / 2);
}

/* Million messages per second. */
template <class C> static double mpsc_round(void *)
{
    std::unique_ptr<C> between;
    return SENDERS * MESSAGES * 1000.0 / run([&](executor on) {
               between = std::make_unique<C>(on, CAPACITY);
               for (int i = 0; i < SENDERS; i++)
                   asio::co_spawn(on, send_many(*between), check);
               asio::co_spawn(on, receive_all(*between), check);
           });
}

static void pingpong()
{
    measure("pingpong", "ns/trip", 11, workers > 1 ? pingpong_round<shared_channel> : pingpong_round<channel>);
}

static void mpsc() { measure("mpsc", "M msg/s", 11, workers > 1 ? mpsc_round<shared_channel> : mpsc_round<channel>); }

/* ---- timers ---------------------------------------------------------------------------------------------------- */

using timer = asio::basic_waitable_timer<std::chrono::steady_clock, asio::wait_traits<std::chrono::steady_clock>, executor>;

static void timers_round(struct timers_round *r, uint32_t cancel)
{
    asio::io_context io(1);
    uint32_t fired = 0;
    std::vector<timer> timers;
    timers.reserve(TIMERS);
    r->began = bench_now();
    auto base = std::chrono::steady_clock::now();
    for (uint32_t i = 0; i < TIMERS; i++) {
        timers.emplace_back(io.get_executor(), base + std::chrono::milliseconds(delay_ms[i]));
        timers.back().async_wait([&fired](std::error_code err) { fired += !err; });
    }
    r->started = bench_now();
    for (uint32_t i = 0; i < cancel; i++)
        timers[order[i]].cancel();
    io.poll(); /* what was cancelled is told so */
    r->cancelled = bench_now();
    r->cpu = bench_cpu_now();
    io.run();
    r->cpu = bench_cpu_now() - r->cpu;
    BENCH_CHECK(fired == TIMERS - cancel);
}

static void timers()
{
    if (workers == 1)
        measure_timers(timers_round);
}

/* ---- a start and an end ---------------------------------------------------------------------------------------- */

static void cold()
{
    run([](executor on) { asio::co_spawn(on, nothing(), check); });
}

/* Each number of workers in a process of its own. */
static int both(char *name, char *work)
{
    char one[] = "1", two[] = "2", *with_one[] = {name, work, one, nullptr}, *with_two[] = {name, work, two, nullptr};
    return bench_again_with(with_one) | bench_again_with(with_two);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*measure)();
        bool alone; /* one worker, if nothing is said */
    } works[] = {
        {"yield", yield, false},     {"spawn_join", spawn_join, false},
        {"million", million, false}, {"pingpong", pingpong, false},
        {"mpsc", mpsc, false},       {"timers", timers, true},
        {"cold", cold, true},
    };

    for (const auto &work : works) {
        if (argc < 2 || strcmp(argv[1], work.name) != 0)
            continue;
        if (argc < 3 && !work.alone)
            return both(argv[0], argv[1]);
        workers = argc > 2 ? bench_count(argv[2]) : 1;
        work.measure();
        return 0;
    }
    return 2;
}
