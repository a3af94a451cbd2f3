/* How fast the stub alone is: `load PORT CONNECTIONS SECONDS METHOD PATH BODY` prints answers per
 * second. The client is as little as can be: each answer must be as long as the first one was.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static char sink[1 << 20], request[1 << 16];
static int request_size;

static void die(const char *what) { perror(what); exit(1); }

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static int connected(int port) {
    int yes = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address)) die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    return fd;
}

static void ask(int fd) {
    if (send(fd, request, request_size, 0) != request_size) die("send");
}

/* The bytes of one answer: what comes before a fifth of a second of silence. */
static long measure(int port) {
    struct timeval silence = {.tv_usec = 200000};
    long size = 0, got;
    int fd = connected(port);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof silence);
    ask(fd);
    while ((got = recv(fd, sink, sizeof sink, 0)) > 0) size += got;
    close(fd);
    return size;
}

int main(int count, char **arguments) {
    if (count != 7) return 2;
    int port = atoi(arguments[1]), connections = atoi(arguments[2]), epoll = epoll_create1(0);
    double seconds = atof(arguments[3]), start, elapsed;
    long answers = 0, left[1024];
    struct epoll_event events[64], event = {.events = EPOLLIN};
    request_size = snprintf(request, sizeof request,
                            "%s %s HTTP/1.1\r\nHost: stub\r\nContent-Length: %zu\r\n\r\n%s", arguments[4],
                            arguments[5], strlen(arguments[6]), arguments[6]);
    long size = measure(port);
    if (size <= 0) die("no answer");
    for (int i = 0; i < connections; i++) {
        int fd = event.data.fd = connected(port);
        if (fd >= 1024 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event)) die("epoll_ctl");
        left[fd] = size;
        ask(fd);
    }
    start = now();
    while ((elapsed = now() - start) < seconds) {
        int ready = epoll_wait(epoll, events, 64, 1000);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            long got = recv(fd, sink, sizeof sink, MSG_DONTWAIT);
            if (got <= 0) die("recv");
            if ((left[fd] -= got) > 0) continue;
            answers++;
            left[fd] = size;
            ask(fd);
        }
    }
    printf("%.0f %ld\n", answers / elapsed, size);
}
