/* A model server with nothing behind it, for measuring its clients: Linux, one thread, epoll.
 *
 * It listens on one port for each kind of service, prints the addresses on its first line, and
 * serves until its standard input ends. What a request gets depends on the name of its model:
 *   fast-N    N pieces, each written by itself, back to back: the backend costs no time
 *   paced-N   N pieces, one every 5 ms; the text of each is CLOCK_MONOTONIC in nanoseconds
 *   vectors   768 numbers for each of 32 texts, whatever was sent
 * Unstreamed, the same text comes in one document, after as long as the stream would have taken.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { OLLAMA, LMSTUDIO, LLAMACPP, KINDS };
enum { NDJSON, SSE, FORMATS };
enum { MODELS = 4, LISTENERS = 4, STAMP = 20, TEXTS = 32, DIMENSIONS = 768 };
enum { MAX_CONNECTIONS = 4096, MAX_REQUEST = 1 << 18, MAX_PIECES = 256 };
static const int64_t PACE = 5000000; /* nanoseconds between two paced pieces */

static const struct { const char *name; int pieces; bool paced; } MODEL[MODELS] = {
    {"fast-200", 200, false}, {"fast-20", 20, false}, {"paced-200", 200, true}, {"paced-20", 20, true},
};
static const char *PREFIX[KINDS] = {"", "lms-", "cpp-"};
static const char *SUFFIX[KINDS] = {":latest", "", ""};
static const int LISTENER[LISTENERS] = {OLLAMA, LMSTUDIO, LLAMACPP, OLLAMA};

struct text { char *data; size_t size, room; };
struct stream { struct text piece[MAX_PIECES]; size_t stamp[MAX_PIECES]; int count; bool paced; };

struct connection {
    int fd, kind;
    char *in;
    size_t held;
    bool close, out; /* hang up after the reply; waiting for room to write */
    const struct text *whole;
    const struct stream *stream;
    int piece;
    size_t sent;
    int64_t due; /* of the next write, on a paced reply; else 0 */
};

static struct stream streams[KINDS][MODELS][FORMATS];
static struct text documents[KINDS][MODELS][FORMATS];
static struct text tags, ps, show_chat, show_vectors, native_list, model_list;
static struct text vectors_ollama, vectors_float, vectors_base64, probes[8];
static struct connection *connections[MAX_CONNECTIONS];
static int paced_connections, epoll;

static void die(const char *what) { perror(what); exit(1); }

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

/* Texts made once, at the start. */

static void add(struct text *text, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (text->size + size + 1 > text->room) {
        text->room = 2 * (text->size + size + 1);
        if (!(text->data = realloc(text->data, text->room))) die("realloc");
    }
    va_start(arguments, format);
    vsnprintf(text->data + text->size, size + 1, format, arguments);
    va_end(arguments);
    text->size += size;
}

static struct text reply(const char *type, const char *headers, const struct text *body) {
    struct text made = {0};
    add(&made, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\n%sContent-Length: %zu\r\n\r\n%s", type, headers,
        body->size, body->data);
    return made;
}

static struct text json(const char *headers, const char *format, ...) {
    struct text body = {0};
    va_list arguments;
    char *made;
    va_start(arguments, format);
    if (vasprintf(&made, format, arguments) < 0) die("vasprintf");
    va_end(arguments);
    add(&body, "%s", made);
    free(made);
    return reply("application/json; charset=utf-8", headers, &body);
}

static void end_piece(struct stream *stream, const char *head, struct text *body) {
    struct text *piece = &stream->piece[stream->count];
    add(piece, "%s%zx\r\n", head, body->size);
    const char *stamp = strstr(body->data, "#");
    stream->stamp[stream->count] = stamp ? piece->size + (stamp - body->data) : 0;
    add(piece, "%s\r\n", body->data);
    stream->count++;
    free(body->data);
}

static const char *word(int number, bool paced) {
    static const char *words[] = {" the", " moon", " pulls", " water", " up,", " twice", " a", " day."};
    return paced ? "####################" : words[number % 8];
}

static void make_ndjson(struct stream *stream, const char *model, int pieces, bool paced) {
    const char *head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n"
                       "Transfer-Encoding: chunked\r\n\r\n";
    for (int i = 0; i <= pieces; i++) {
        struct text body = {0};
        add(&body, "{\"model\":\"%s\",\"created_at\":\"2026-11-22T10:00:00.%09dZ\","
                   "\"message\":{\"role\":\"assistant\",\"content\":\"%s\"},\"done\":%s",
            model, i, i < pieces ? word(i, paced) : "", i < pieces ? "false" : "true");
        if (i == pieces)
            add(&body, ",\"done_reason\":\"stop\",\"total_duration\":900000000,\"load_duration\":1000000,"
                       "\"prompt_eval_count\":12,\"prompt_eval_duration\":20000000,\"eval_count\":%d,"
                       "\"eval_duration\":800000000", pieces);
        add(&body, "}\n");
        end_piece(stream, i ? "" : head, &body);
    }
}

static void make_sse(struct stream *stream, const char *model, int pieces, bool paced) {
    const char *head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                       "Transfer-Encoding: chunked\r\n\r\n";
    const char *start = "data: {\"id\":\"chatcmpl-17\",\"object\":\"chat.completion.chunk\","
                        "\"created\":1760000000,\"model\":\"%s\",\"system_fingerprint\":\"stub\",";
    for (int i = 0; i < pieces + 3; i++) {
        struct text body = {0};
        if (i < pieces + 2) add(&body, start, model);
        if (i < pieces)
            add(&body, "\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"%s\"},"
                       "\"finish_reason\":null}]}\n\n", word(i, paced));
        else if (i == pieces)
            add(&body, "\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n");
        else if (i == pieces + 1)
            add(&body, "\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":%d,"
                       "\"total_tokens\":%d}}\n\n", pieces, pieces + 12);
        else
            add(&body, "data: [DONE]\n\n");
        end_piece(stream, i ? "" : head, &body);
    }
}

static void make_chat(int kind, int number) {
    bool paced = MODEL[number].paced;
    int pieces = MODEL[number].pieces;
    char name[64];
    struct text said = {0};
    snprintf(name, sizeof name, "%s%s%s", PREFIX[kind], MODEL[number].name, SUFFIX[kind]);
    make_ndjson(&streams[kind][number][NDJSON], name, pieces, paced);
    make_sse(&streams[kind][number][SSE], name, pieces, paced);
    for (int format = 0; format < FORMATS; format++) {
        struct stream *stream = &streams[kind][number][format];
        add(&stream->piece[stream->count++], "0\r\n\r\n");
        stream->paced = paced;
    }
    for (int i = 0; i < pieces; i++) add(&said, "%s", paced ? "00000000000000000000" : word(i, false));
    documents[kind][number][NDJSON] = json("",
        "{\"model\":\"%s\",\"created_at\":\"2026-11-22T10:00:00Z\",\"message\":{\"role\":\"assistant\","
        "\"content\":\"%s\"},\"done\":true,\"done_reason\":\"stop\",\"total_duration\":900000000,"
        "\"load_duration\":1000000,\"prompt_eval_count\":12,\"prompt_eval_duration\":20000000,"
        "\"eval_count\":%d,\"eval_duration\":800000000}", name, said.data, pieces);
    documents[kind][number][SSE] = json("",
        "{\"id\":\"chatcmpl-17\",\"object\":\"chat.completion\",\"created\":1760000000,\"model\":\"%s\","
        "\"system_fingerprint\":\"stub\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
        "\"content\":\"%s\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":12,"
        "\"completion_tokens\":%d,\"total_tokens\":%d}}", name, said.data, pieces, pieces + 12);
    free(said.data);
}

static void add_base64(struct text *text, const unsigned char *data, size_t size) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < size; i += 3) /* size is a multiple of 3 */
        add(text, "%c%c%c%c", digits[data[i] >> 2], digits[(data[i] & 3) << 4 | data[i + 1] >> 4],
            digits[(data[i + 1] & 15) << 2 | data[i + 2] >> 6], digits[data[i + 2] & 63]);
}

static void make_vectors(void) {
    struct text plain = {0}, floats = {0}, packed = {0};
    uint32_t seed = 1;
    add(&plain, "{\"model\":\"vectors:latest\",\"embeddings\":[");
    add(&floats, "{\"object\":\"list\",\"data\":[");
    add(&packed, "%s", floats.data);
    for (int i = 0; i < TEXTS; i++) {
        float vector[DIMENSIONS];
        struct text numbers = {0};
        for (int j = 0; j < DIMENSIONS; j++) {
            seed = seed * 1664525u + 1013904223u; /* a mean square of 1/768: nearly normalised */
            vector[j] = ((int32_t)seed / 2147483648.0f) * 0.0625f;
            add(&numbers, "%s%.9g", j ? "," : "", vector[j]);
        }
        const char *comma = i ? "," : "";
        add(&plain, "%s[%s]", comma, numbers.data);
        add(&floats, "%s{\"object\":\"embedding\",\"index\":%d,\"embedding\":[%s]}", comma, i, numbers.data);
        add(&packed, "%s{\"object\":\"embedding\",\"index\":%d,\"embedding\":\"", comma, i);
        add_base64(&packed, (unsigned char *)vector, sizeof vector);
        add(&packed, "\"}");
        free(numbers.data);
    }
    const char *end = "],\"model\":\"%s\",\"usage\":{\"prompt_tokens\":64,\"total_tokens\":64}}";
    add(&plain, "],\"total_duration\":9000000,\"load_duration\":1000000,\"prompt_eval_count\":64}");
    add(&floats, end, "lms-vectors");
    add(&packed, end, "cpp-vectors");
    vectors_ollama = reply("application/json; charset=utf-8", "", &plain);
    vectors_float = reply("application/json", "", &floats);
    vectors_base64 = reply("application/json", "", &packed);
}

static void make_lists(void) {
    struct text ollama = {0}, running = {0}, native = {0}, openai = {0};
    for (int i = 0; i <= MODELS; i++) {
        const char *name = i < MODELS ? MODEL[i].name : "vectors", *comma = i ? "," : "";
        add(&ollama, "%s{\"name\":\"%s:latest\",\"model\":\"%s:latest\",\"modified_at\":"
                     "\"2026-11-01T10:00:00.123456789Z\",\"size\":2019393189,\"digest\":\"%064d\","
                     "\"details\":{\"format\":\"gguf\",\"family\":\"llama\",\"parameter_size\":\"3.2B\","
                     "\"quantization_level\":\"Q4_K_M\"}}", comma, name, name, i);
        /* Of the model for vectors the length of its context is not told: then no text may be cut. */
        add(&running, "%s{\"name\":\"%s:latest\",\"model\":\"%s:latest\",\"size\":2019393189,"
                      "\"expires_at\":\"2026-11-22T11:00:00Z\"%s}", comma, name, name,
            i < MODELS ? ",\"context_length\":4096" : "");
        add(&native, "%s{\"type\":\"%s\",\"publisher\":\"stub\",\"key\":\"lms-%s\",\"display_name\":\"%s\","
                     "\"architecture\":\"llama\",\"quantization\":{\"name\":\"Q4_K_M\"},\"size_bytes\":2019393189,"
                     "\"params_string\":\"3B\",\"loaded_instances\":[{\"id\":\"lms-%s\",\"config\":"
                     "{\"context_length\":4096}}],\"max_context_length\":131072,\"format\":\"gguf\","
                     "\"capabilities\":{\"vision\":false,\"trained_for_tool_use\":true}}",
            comma, i < MODELS ? "llm" : "embedding", name, name, name);
        add(&openai, "%s{\"id\":\"cpp-%s\",\"object\":\"model\",\"created\":1760000000,\"owned_by\":\"llamacpp\","
                     "\"meta\":{\"n_ctx_train\":131072,\"n_params\":3212749888,\"size\":2019393189}}", comma, name);
    }
    tags = json("", "{\"models\":[%s]}", ollama.data);
    native_list = json("", "{\"models\":[%s]}", native.data);
    model_list = json("", "{\"object\":\"list\",\"data\":[%s]}", openai.data);
    ps = json("", "{\"models\":[%s]}", running.data);
    const char *show = "{\"details\":{\"format\":\"gguf\",\"family\":\"llama\"},\"model_info\":{"
                       "\"general.architecture\":\"llama\",\"llama.context_length\":131072},\"capabilities\":%s}";
    show_chat = json("", show, "[\"completion\",\"tools\"]");
    show_vectors = json("", show, "[\"embedding\"]");
}

static void make_probes(void) {
    const char *cpp = "Server: llama.cpp\r\n";
    probes[0] = json("", "{\"version\":\"0.33.0\"}");
    add(&probes[1], "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n"
                    "Content-Length: 17\r\n\r\nOllama is running");
    probes[2] = json("", "{\"lmstudio\":true}");
    probes[3] = json("", "{\"package\":\"lmstudio\",\"version\":\"0.4.0\"}");
    probes[4] = json(cpp, "{\"status\":\"ok\"}");
    probes[5] = json(cpp, "{\"default_generation_settings\":{\"n_ctx\":4096},\"total_slots\":64,"
                          "\"model_path\":\"/models/stub.gguf\",\"build_info\":\"b10488-stub\"}");
    add(&probes[6], "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 18\r\n\r\n"
                    "404 page not found");
}

/* Requests read, replies chosen. */

static const struct text *plain_reply(int kind, const char *path, const char *body) {
    static const struct { int kind; const char *path; const struct text *reply; } routes[] = {
        {OLLAMA, "/api/version ", &probes[0]}, {OLLAMA, "/ ", &probes[1]}, {OLLAMA, "/api/tags ", &tags},
        {OLLAMA, "/api/ps ", &ps}, {OLLAMA, "/api/embed ", &vectors_ollama},
        {LMSTUDIO, "/lmstudio-greeting ", &probes[2]}, {LMSTUDIO, "/lms-status ", &probes[3]},
        {LMSTUDIO, "/api/v1/models ", &native_list}, {LLAMACPP, "/health ", &probes[4]},
        {LLAMACPP, "/props ", &probes[5]}, {LLAMACPP, "/v1/models ", &model_list},
    };
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++)
        if (routes[i].kind == kind && !strncmp(path, routes[i].path, strlen(routes[i].path)))
            return routes[i].reply;
    if (kind == OLLAMA && !strncmp(path, "/api/show ", 10))
        return strstr(body, "vectors") ? &show_vectors : &show_chat;
    if (!strncmp(path, "/v1/embeddings ", 15))
        return strstr(body, "base64") ? &vectors_base64 : &vectors_float;
    return &probes[6];
}

static bool says(const char *body, const char *field, const char *value) {
    const char *found = strstr(body, field);
    return found && !strncmp(found + strlen(field) + strspn(found + strlen(field), ": "), value, strlen(value));
}

static void choose_reply(struct connection *c, const char *path, const char *body) {
    int format = !strncmp(path, "/api/chat ", 10) ? NDJSON
               : !strncmp(path, "/v1/chat/completions ", 21) ? SSE : FORMATS;
    c->whole = NULL;
    c->stream = NULL;
    c->piece = 0, c->sent = 0, c->due = 0;
    for (int i = 0; i < MODELS && format < FORMATS; i++) {
        if (!strstr(body, MODEL[i].name)) continue;
        bool streamed = format == NDJSON ? !says(body, "\"stream\"", "false") : says(body, "\"stream\"", "true");
        if (streamed) c->stream = &streams[c->kind][i][format];
        else c->whole = &documents[c->kind][i][format];
        if (MODEL[i].paced) {
            c->due = now() + (streamed ? 1 : streams[c->kind][i][format].count - 1) * PACE;
            paced_connections++;
        }
        return;
    }
    c->whole = plain_reply(c->kind, path, body);
}

/* Says that the connection will be closed, in place of the plain status line. */
static void start_reply(struct connection *c) {
    static const char plain[] = "HTTP/1.1 200 OK\r\n", closing[] = "HTTP/1.1 200 OK\r\nConnection: close\r\n";
    const char *start = c->whole ? c->whole->data : c->stream->piece[0].data;
    if (!c->close || strncmp(start, plain, sizeof plain - 1)) return;
    if (send(c->fd, closing, sizeof closing - 1, MSG_NOSIGNAL | MSG_MORE) > 0) c->sent = sizeof plain - 1;
}

static void hang_up(struct connection *c) {
    if (c->due) paced_connections--;
    close(c->fd);
    connections[c->fd] = NULL;
    free(c->in);
    free(c);
}

static void wait_for(struct connection *c, bool out) {
    struct epoll_event event = {.events = EPOLLIN | (out ? EPOLLOUT : 0), .data.fd = c->fd};
    if (c->out == out) return;
    c->out = out;
    if (epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event)) die("epoll_ctl");
}

/* Writes `text` on from where it was left; tells whether all of it is out. */
static int write_on(struct connection *c, const char *data, size_t size) {
    while (c->sent < size) {
        ssize_t sent = send(c->fd, data + c->sent, size - c->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0) return errno == EAGAIN ? 0 : -1;
        c->sent += sent;
    }
    c->sent = 0;
    return 1;
}

static int write_piece(struct connection *c) {
    const struct text *piece = &c->stream->piece[c->piece];
    size_t stamp = c->stream->stamp[c->piece];
    char stamped[1024], digits[STAMP + 1];
    if (!stamp) return write_on(c, piece->data, piece->size);
    memcpy(stamped, piece->data, piece->size);
    snprintf(digits, sizeof digits, "%0*lld", STAMP, (long long)now());
    memcpy(stamped + stamp, digits, STAMP);
    return write_on(c, stamped, piece->size);
}

/* Writes as much of the reply as may go out now; false if the connection is gone. */
static bool write_reply(struct connection *c) {
    int done = 1;
    if (c->due > now()) return true;
    if (c->whole) {
        done = write_on(c, c->whole->data, c->whole->size);
    } else {
        while (c->piece < c->stream->count && (done = write_piece(c)) == 1) {
            c->piece++;
            if (c->due && c->piece < c->stream->count - 1) { /* the end comes with the last piece */
                c->due += PACE;
                return true;
            }
        }
    }
    if (done < 0 || (done == 1 && c->close)) {
        hang_up(c);
        return false;
    }
    wait_for(c, done == 0);
    if (done == 1) {
        if (c->due) paced_connections--;
        c->whole = NULL, c->stream = NULL, c->due = 0;
    }
    return true;
}

static bool busy(const struct connection *c) { return c->whole || c->stream; }

/* Answers the requests that have come in; false if the connection is gone. */
static bool answer(struct connection *c) {
    while (!busy(c)) {
        c->in[c->held] = 0;
        char *head_end = strstr(c->in, "\r\n\r\n");
        if (!head_end) return true;
        char *body = head_end + 4;
        *head_end = 0;
        char *length = strcasestr(c->in, "\r\ncontent-length:");
        size_t size = length ? strtoul(length + 17, NULL, 10) : 0;
        if ((size_t)(c->in + c->held - body) < size) {
            *head_end = '\r';
            return true;
        }
        c->close = strcasestr(c->in, "\r\nconnection: close") != NULL;
        char *path = strchr(c->in, ' '), kept = body[size];
        body[size] = 0;
        choose_reply(c, path ? path + 1 : "", body);
        start_reply(c);
        body[size] = kept;
        c->held -= body + size - c->in;
        memmove(c->in, body + size, c->held);
        if (!write_reply(c)) return false;
    }
    return true;
}

static void read_some(struct connection *c) {
    ssize_t size = recv(c->fd, c->in + c->held, MAX_REQUEST - c->held - 1, MSG_DONTWAIT);
    if (size < 0 && errno == EAGAIN) return;
    if (size <= 0) {
        hang_up(c);
        return;
    }
    c->held += size;
    answer(c);
}

static void accept_all(int listener, int kind) {
    int fd, yes = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct connection *c = calloc(1, sizeof *c);
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        if (fd >= MAX_CONNECTIONS || !c || !(c->in = malloc(MAX_REQUEST))) die("too many connections");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        c->fd = fd, c->kind = kind;
        connections[fd] = c;
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event)) die("epoll_ctl");
    }
}

static void set_timer(int timer) {
    struct itimerspec when = {0};
    int64_t next = 0;
    for (int fd = 0; paced_connections && fd < MAX_CONNECTIONS; fd++)
        if (connections[fd] && connections[fd]->due && (!next || connections[fd]->due < next))
            next = connections[fd]->due;
    when.it_value.tv_sec = next / 1000000000;
    when.it_value.tv_nsec = next % 1000000000;
    if (timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL)) die("timerfd_settime");
}

static void write_due(void) {
    for (int fd = 0; fd < MAX_CONNECTIONS; fd++) {
        struct connection *c = connections[fd];
        if (c && c->due && c->due <= now() && write_reply(c) && !busy(c)) answer(c);
    }
}

static int listen_at(struct sockaddr_in *address) {
    socklen_t size = sizeof *address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd < 0 || bind(fd, (struct sockaddr *)address, size) || listen(fd, 512) ||
        getsockname(fd, (struct sockaddr *)address, &size))
        die("listen");
    return fd;
}

int main(void) {
    struct epoll_event events[256], event = {.events = EPOLLIN};
    int listeners[LISTENERS], timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    epoll = epoll_create1(0);
    for (int kind = 0; kind < KINDS; kind++)
        for (int number = 0; number < MODELS; number++) make_chat(kind, number);
    make_vectors();
    make_lists();
    make_probes();
    for (int i = 0; i < LISTENERS; i++) {
        struct sockaddr_in address;
        event.data.fd = listeners[i] = listen_at(&address);
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, listeners[i], &event)) die("epoll_ctl");
        printf("%d%s", ntohs(address.sin_port), i + 1 < LISTENERS ? " " : "\n");
    }
    fflush(stdout);
    event.data.fd = timer;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event)) die("epoll_ctl");
    event.data.fd = STDIN_FILENO;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event)) die("epoll_ctl");
    for (;;) {
        int count = epoll_wait(epoll, events, 256, -1);
        bool was_paced = paced_connections > 0;
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == STDIN_FILENO) return 0; /* whoever started it has ended */
            if (fd == timer) {
                write_due();
                continue;
            }
            struct connection *c = connections[fd];
            for (int k = 0; k < LISTENERS; k++)
                if (fd == listeners[k]) accept_all(fd, LISTENER[k]);
            if (c && busy(c) && !c->due && events[i].events & EPOLLOUT && write_reply(c) && !busy(c)) answer(c);
            if (connections[fd] == c && c && events[i].events & ~EPOLLOUT) read_some(c);
        }
        if (paced_connections || was_paced) set_timer(timer);
    }
}
