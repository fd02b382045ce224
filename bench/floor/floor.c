/*
 * The floor of bench W8: what it costs to hand the same bytes to the same sockets, without any gateway.
 * One thread, epoll, one write a user for each line on standard input.
 *
 *     floor PORT FILE     FILE: the frame, header and all, as it is written to every user
 */
#include "websocket.h"
#include <signal.h>

#define USERS_MAX 20000
#define BACKLOG 4096

struct user {
  int fd;
  /* Where the rest begins that the socket did not take; the length of the frame when nothing is left. */
  size_t taken;
};

static const char ANSWER[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                             "Sec-WebSocket-Accept: " ACCEPT "\r\n\r\n";
static struct user users[USERS_MAX];
static int count;
static int epoll;
static char *frame;
static size_t length;

static void give(struct user *user) {
  ssize_t taken = send(user->fd, frame + user->taken, length - user->taken, MSG_NOSIGNAL);
  if (taken < 0 && errno != EAGAIN) return;
  if (taken > 0) user->taken += (size_t)taken;
  if (user->taken < length) watch(epoll, EPOLL_CTL_MOD, user->fd, EPOLLIN | EPOLLOUT, user);
}

static void flush(void) {
  for (int i = 0; i < count; i++) {
    if (users[i].taken < length) FAIL("the users are not as quick as the floor");
    users[i].taken = 0;
    give(&users[i]);
  }
}

static void enter(int listener) {
  for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
    if (count == USERS_MAX) FAIL("more than %d users", USERS_MAX);
    without_delay(fd);
    users[count] = (struct user){.fd = fd, .taken = length};
    watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN, &users[count++]);
  }
}

/* The upgrade request is answered; whatever else comes is of no interest. */
static void hear(struct user *user) {
  static char bytes[4096];
  ssize_t got = recv(user->fd, bytes, sizeof bytes, 0);
  if (got == 0 || (got < 0 && errno != EAGAIN)) {
    epoll_ctl(epoll, EPOLL_CTL_DEL, user->fd, NULL);
    return;
  }
  if (got > 3 && memcmp(bytes, "GET", 3) == 0 && send(user->fd, ANSWER, sizeof ANSWER - 1, MSG_NOSIGNAL) < 0)
    FAIL("no answer to an upgrade: %s", strerror(errno));
}

static void flushes_asked_for(void) {
  char lines[4096];
  ssize_t got = read(STDIN_FILENO, lines, sizeof lines);
  if (got <= 0) exit(0);
  for (ssize_t i = 0; i < got; i++)
    if (lines[i] == '\n') flush();
}

int main(int argc, char **argv) {
  if (argc != 3) FAIL("usage: floor PORT FILE");
  struct sockaddr_in at = loopback(argv[1]);
  frame = whole_file(argv[2], &length);
  epoll = epoll_create1(0);
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  int one = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(listener, (struct sockaddr *)&at, sizeof at) != 0 || listen(listener, BACKLOG) != 0)
    FAIL("port %s: %s", argv[1], strerror(errno));
  watch(epoll, EPOLL_CTL_ADD, listener, EPOLLIN, &listener);
  watch(epoll, EPOLL_CTL_ADD, STDIN_FILENO, EPOLLIN, NULL);
  printf("listening\n");
  fflush(stdout);
  struct epoll_event events[EVENTS_MAX];
  for (;;) {
    int ready = epoll_wait(epoll, events, EVENTS_MAX, -1);
    for (int i = 0; i < ready; i++) {
      void *whose = events[i].data.ptr;
      if (whose == NULL) flushes_asked_for();
      else if (whose == &listener) enter(listener);
      else if (events[i].events & EPOLLOUT) {
        watch(epoll, EPOLL_CTL_MOD, ((struct user *)whose)->fd, EPOLLIN, whose);
        give(whose);
      } else hear(whose);
    }
  }
}
