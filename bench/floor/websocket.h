/* What the floor and the users of bench W8 both need: the opening of a WebSocket, always with the example key of RFC 6455, and quick ways out. */
#ifndef ODDSWIRE_BENCH_WEBSOCKET_H
#define ODDSWIRE_BENCH_WEBSOCKET_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
#define EVENTS_MAX 512

/* Says what went wrong, and ends. */
#define FAIL(...)                                                                                                      \
  do {                                                                                                                 \
    fprintf(stderr, __VA_ARGS__);                                                                                      \
    fprintf(stderr, "\n");                                                                                             \
    exit(1);                                                                                                           \
  } while (0)

static inline struct sockaddr_in loopback(const char *port) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return at;
}

static inline void without_delay(int fd) {
  int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static inline void watch(int epoll, int how, int fd, uint32_t events, void *whose) {
  struct epoll_event event = {.events = events, .data.ptr = whose};
  if (epoll_ctl(epoll, how, fd, &event) != 0) FAIL("epoll_ctl: %s", strerror(errno));
}

static inline char *whole_file(const char *path, size_t *length) {
  FILE *file = fopen(path, "rb");
  if (file == NULL) FAIL("%s: %s", path, strerror(errno));
  fseek(file, 0, SEEK_END);
  *length = (size_t)ftell(file);
  rewind(file);
  char *bytes = malloc(*length + 1);
  if (fread(bytes, 1, *length, file) != *length) FAIL("%s: cannot be read", path);
  bytes[*length] = 0;
  fclose(file);
  return bytes;
}

#endif
